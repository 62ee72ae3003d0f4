"""The seed's design, as its README describes it: get the whole file, change it, put it back.

Only for the benchmark, so that the comparison runs on the same machine in the same minutes.
"""

import json
import os

import boto3
from flask import Flask, jsonify, request

S3_BUCKET_NAME = os.environ["S3_BUCKET_NAME"]

app = Flask(__name__)
s3_client = boto3.client("s3")


def load(filename):
    file_obj = s3_client.get_object(Bucket=S3_BUCKET_NAME, Key=filename)
    content = file_obj["Body"].read().decode("utf-8")
    movies = [movie for movie in json.loads(content) if movie]
    return movies, file_obj["ETag"]


@app.route("/api/movies", methods=["GET"])
def get_movies():
    movies, _ = load(request.args.get("filename", "movies.json"))
    return jsonify(movies)


@app.route("/api/movies/query", methods=["GET"])
def query_movies():
    movies, _ = load(request.args.get("filename", "movies.json"))
    name = request.args.get("name")
    year = request.args.get("year", type=int)
    return jsonify(
        [
            movie
            for movie in movies
            if (not name or movie.get("name") == name)
            and (year is None or movie.get("year") == year)
        ]
    )


@app.route("/api/movies/<name>/<int:year>", methods=["PUT"])
def update_movie(name, year):
    filename = request.args.get("filename", "movies.json")
    expected_version = request.headers.get("If-Match")
    movies, current_version = load(filename)
    if expected_version and expected_version != current_version:
        return jsonify({"error": "Version conflict"}), 409
    movie = {"name": name, "year": year, **request.json}
    for index, other in enumerate(movies):
        if other.get("name") == name and other.get("year") == year:
            movies[index] = movie
            break
    else:
        movies.append(movie)
    s3_client.put_object(
        Bucket=S3_BUCKET_NAME, Key=filename, Body=json.dumps(movies).encode("utf-8")
    )
    return jsonify(movie)
