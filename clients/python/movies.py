#!/usr/bin/env python3
"""Every line of the API that one needs in a day, by requests: python movies.py

MOVIES_URL is where the service is; MOVIES_USERNAME and MOVIES_PASSWORD log in where they are set.
`Movies` is made to be copied: it needs nothing but requests.
"""

import os
import sys
import uuid
from pathlib import Path
from urllib.parse import quote

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

# Nothing was stored (429, 503), or it is not known (504): each says in Retry-After when to come back.
COME_BACK = (429, 503, 504)
ATTEMPTS_MAX = 5
TIMEOUT_S = 35  # longer than the service's own 30 s, so that its answer is heard


class Conflict(Exception):
    """Somebody else was faster each time."""


class Movies:
    """A catalogue."""

    def __init__(self, url, collection=None):
        self.url = url.rstrip("/")
        self.params = {"filename": collection} if collection else {}
        self.session = requests.Session()
        # A request that is sent again carries the same Idempotency-Key, so it counts once.
        again = Retry(
            total=ATTEMPTS_MAX,
            backoff_factor=0.2,
            status_forcelist=COME_BACK,
            allowed_methods=None,
            raise_on_status=False,
        )
        self.session.mount("http://", HTTPAdapter(max_retries=again))
        self.session.mount("https://", HTTPAdapter(max_retries=again))

    def login(self, username, password):
        """Tokens hold for an hour; after a 401 log in again."""
        answer = self._send("POST", "/login", json={"username": username, "password": password})
        self.session.headers["Authorization"] = "Bearer " + answer.json()["access_token"]

    def all(self):
        return self._send("GET", "/api/movies").json()

    def query(self, **filters):
        """By `name`, `year`, or both."""
        return self._send("GET", "/api/movies/query", params=self.params | filters).json()

    def get(self, name, year):
        """The movie and its tag."""
        answer = self._send("GET", path(name, year))
        return answer.json(), answer.headers["ETag"]

    def put(self, name, year, movie, if_match=None, key=None):
        """Stores the movie. Without a `key` one is made, so that retries count once."""
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        if if_match:
            headers["If-Match"] = if_match
        return self._send("PUT", path(name, year), json=movie, headers=headers)

    def update(self, name, year, change):
        """Reads, changes and writes until nobody was faster in between."""
        for _ in range(ATTEMPTS_MAX):
            movie, tag = self.get(name, year)
            try:
                return self.put(name, year, change(movie), if_match=tag).json()
            except requests.HTTPError as error:
                if error.response.status_code != 409:
                    raise
        raise Conflict(f"somebody else was faster {ATTEMPTS_MAX} times with {name} ({year})")

    def delete(self, name, year):
        self._send("DELETE", path(name, year))

    def export(self, file):
        """The whole array; under its name only when it is whole."""
        part = Path(f"{file}.part")
        with self._send("GET", "/api/movies", stream=True) as answer, part.open("wb") as out:
            for piece in answer.iter_content(1 << 16):
                out.write(piece)
        part.replace(file)

    def _send(self, method, target, **more):
        more.setdefault("params", self.params)
        answer = self.session.request(method, self.url + target, timeout=TIMEOUT_S, **more)
        if not answer.ok:
            # The body says what was wrong and what to do.
            raise requests.HTTPError(f"{answer.status_code}: {answer.text}", response=answer)
        return answer


def path(name, year):
    """A name is one segment, whatever is in it: `Face/Off` is `Face%2FOff`."""
    return f"/api/movies/{quote(name, safe='')}/{year}"


def main():
    movies = Movies(os.environ.get("MOVIES_URL", "http://127.0.0.1:5000"))
    if "MOVIES_USERNAME" in os.environ:
        movies.login(os.environ["MOVIES_USERNAME"], os.environ["MOVIES_PASSWORD"])

    print(movies.put("Inception2", 2010, {"director": "me", "genre": "nothing"}).json())
    print(movies.all())
    print(movies.query(year=2010))
    print(movies.query(name="Inception2"))
    print(movies.query(name="Inception2", year=2010))

    movies.put("Face/Off", 1997, {"director": "Woo"})
    print(movies.get("Face/Off", 1997))

    archive = Movies(movies.url, "archive.json")
    archive.session = movies.session
    archive.put("Ran", 1985, {})
    print(archive.all())

    # Somebody else is faster the first time, to show what happens then.
    tries = []

    def to_heist(movie):
        tries.append(movie)
        if len(tries) == 1:
            movies.put("Inception2", 2010, {"director": "you", "genre": "none"})
        return movie | {"genre": "heist"}

    print(movies.update("Inception2", 2010, to_heist), "after", len(tries), "tries")
    expect(len(tries) == 2, "the first write overwrote another's")
    expect(movies.get("Inception2", 2010)[0]["director"] == "you", "another's write was lost")

    # After a crash the same key asks again what became of the first request.
    key = str(uuid.uuid4())
    first = movies.put("Heat", 1995, {"v": 1}, key=key)
    again = movies.put("Heat", 1995, {"v": 1}, key=key)
    expect(again.headers.get("Movies-Replayed") == "true", "the key was not honoured")
    expect(again.status_code == first.status_code, "the second answer is another one")

    movies.export("movies.json")
    print(Path("movies.json").read_text())
    movies.delete("Heat", 1995)
    print("ok")


def expect(holds, otherwise):
    if not holds:
        sys.exit(otherwise)


if __name__ == "__main__":
    main()
