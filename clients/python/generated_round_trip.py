"""One round trip by the client that openapi-python-client makes of /openapi.json.

    openapi-python-client generate --url http://127.0.0.1:5000/openapi.json --output-path generated
    PYTHONPATH=generated python generated_round_trip.py

MOVIES_URL, MOVIES_USERNAME and MOVIES_PASSWORD as in movies.py.
"""

import os

from movies_api_client import AuthenticatedClient, Client
from movies_api_client.api.callers import login
from movies_api_client.api.movies import get_movie, list_movies, put_movie
from movies_api_client.models import Credentials, MovieBody

url = os.environ.get("MOVIES_URL", "http://127.0.0.1:5000")
credentials = Credentials(
    username=os.environ["MOVIES_USERNAME"], password=os.environ["MOVIES_PASSWORD"]
)
token = login.sync(client=Client(url), body=credentials).access_token

with AuthenticatedClient(url, token) as client:
    body = MovieBody.from_dict({"director": "Woo"})
    stored = put_movie.sync_detailed("Face/Off", "1997", client=client, body=body)
    print(stored.status_code, stored.headers["etag"], stored.parsed)
    assert stored.status_code == 201, stored.content

    found = get_movie.sync_detailed("Face/Off", "1997", client=client)
    assert found.headers["etag"] == stored.headers["etag"], found
    assert found.parsed.to_dict() == {"name": "Face/Off", "year": 1997, "director": "Woo"}, found

    movies = list_movies.sync(client=client)
    assert [movie.name for movie in movies] == ["Face/Off"], movies
print("ok")
