#!/usr/bin/env bash
# Every line of the API that one needs in a day, by curl: bash movies.sh
#
# MOVIES_URL is where the service is; MOVIES_USERNAME and MOVIES_PASSWORD log in where they are set.
# Needs bash, curl and mktemp; no jq: the service's answers have one movie a line.
set -euo pipefail

url=${MOVIES_URL:-http://127.0.0.1:5000}
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

# What every request has in common. `--fail-with-body` makes an answer of 400 and up a failure, and
# still shows what the service says about it.
common=(--silent --show-error --fail-with-body)
movies() { curl "${common[@]}" "$@"; }
json=(--header 'Content-Type: application/json')

say() { printf '\n# %s\n' "$*"; }
fail() { printf 'movies.sh: %s\n' "$*" >&2; exit 1; }

# The value of a header in an answer's head that `--dump-header` has saved.
header() { tr -d '\r' <"$2" | sed -n "s/^$1: //Ip"; }

if [[ -n ${MOVIES_USERNAME:-} ]]; then
  say 'log in: the token goes into a file, since everybody on the machine sees command lines'
  credentials=$(printf '{"username":"%s","password":"%s"}' "$MOVIES_USERNAME" "$MOVIES_PASSWORD")
  token=$(printf '%s' "$credentials" | movies "${json[@]}" --data @- "$url/login" |
    sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  (umask 077 && printf 'header = "Authorization: Bearer %s"\n' "$token" >"$work/token")
  common+=(--config "$work/token")
fi

say 'store a movie, or replace it'
movies --request PUT "$url/api/movies/Inception2/2010" "${json[@]}" \
  --data '{ "director": "me", "genre": "nothing" }'

say 'all of them'
movies --request GET "$url/api/movies"

say 'of one year; of one name; both'
movies --request GET "$url/api/movies/query?year=2010"
movies --request GET "$url/api/movies/query?name=Inception2"
movies --request GET "$url/api/movies/query?name=Inception2&year=2010"

say 'a name with a slash: %2F, as curl sends it untouched'
movies --request PUT "$url/api/movies/Face%2FOff/1997" "${json[@]}" --data '{"director":"Woo"}'
movies "$url/api/movies/Face%2FOff/1997"

say 'any other name: curl encodes what a query needs'
movies --get --data-urlencode 'name=Face/Off' "$url/api/movies/query"

say 'another collection'
movies --request PUT "$url/api/movies/Ran/1985?filename=archive.json" "${json[@]}" --data '{}'
movies "$url/api/movies?filename=archive.json"

say 'write it unless somebody was faster: read, change, write with the tag that was read'
movie="$url/api/movies/Inception2/2010"
# The change: any program that reads the old movie and writes the new one.
change() { sed 's/"genre":"[^"]*"/"genre":"heist"/'; }
for attempt in 1 2 3 4 5; do
  movies --dump-header "$work/head" "$movie" >"$work/old"
  tag=$(header ETag "$work/head")
  change <"$work/old" >"$work/new"
  if ((attempt == 1)); then # Somebody else is faster this once, to show what happens then.
    movies --request PUT "$movie" "${json[@]}" --data '{"director":"you","genre":"none"}'
  fi
  status=$(movies --output "$work/answer" --write-out '%{http_code}' --request PUT "$movie" \
    "${json[@]}" --header "If-Match: $tag" --data "@$work/new") || true
  cat "$work/answer"
  case $status in
    2*) break ;;
    409) ((attempt < 5)) || fail 'somebody else was faster five times' ;;
    *) fail "the service answered $status" ;;
  esac
done

say 'write it for certain: with a key that is kept, the same request may be sent again and again'
key=$(cat /proc/sys/kernel/random/uuid 2>/dev/null || uuidgen)
for round in first again; do
  # curl waits as long as Retry-After says.
  movies --retry 5 --retry-connrefused --dump-header "$work/head" --request PUT \
    "$url/api/movies/Heat/1995" "${json[@]}" --header "Idempotency-Key: $key" --data '{"v":1}'
  printf '%s: Movies-Replayed: %s\n' "$round" "$(header Movies-Replayed "$work/head")"
done
[[ $(header Movies-Replayed "$work/head") == true ]] || fail 'the key was not honoured'

say 'only if it is new; only if it has changed'
status=$(movies --output /dev/null --write-out '%{http_code}' --request PUT "$movie" "${json[@]}" \
  --header 'If-None-Match: *' --data '{}') || true
[[ $status == 412 ]] || fail "a movie that exists was answered $status"
movies --output "$work/export.json" --etag-save "$work/etag" "$url/api/movies"
status=$(movies --etag-compare "$work/etag" --output "$work/again.json" \
  --write-out '%{http_code}' "$url/api/movies")
[[ $status == 304 ]] || fail "a catalogue that has not changed was answered $status"

say 'export: the array, compressed on its way, under its name only when it is whole'
movies --compressed --output "$work/movies.json.part" "$url/api/movies"
mv "$work/movies.json.part" "$work/movies.json"
cat "$work/movies.json"

say 'delete'
movies --request DELETE "$url/api/movies/Heat/1995"

printf '\nok\n'
