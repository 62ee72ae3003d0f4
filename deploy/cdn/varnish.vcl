# A cache before movies-api, for Varnish 7.1 with varnish-modules (xkey). It does what the service
# says: without --cdn-ttl every answer is revalidated and current; with it answers are kept that long,
# and purged by tag. `cargo xtask edge` runs this very file with another backend.
vcl 4.1;

import std;
import xkey;

backend default {
    .host = "127.0.0.1";
    .port = "5000";
    .connect_timeout = 2s;
    .first_byte_timeout = 35s;
    .probe = {
        .url = "/readyz";
        .interval = 1s;
        .timeout = 1s;
        .window = 3;
        .threshold = 2;
        .initial = 2;
    }
}

sub vcl_recv {
    # PURGE / with the tags in `xkey-purge`, separated by spaces, from whoever knows the token. Not by
    # address: behind a terminator of TLS on this machine everybody comes from 127.0.0.1. A file that is
    # not there, or holds less than 16 characters, lets nobody in. It is read once: load the
    # configuration again when it has changed.
    if (req.method == "PURGE") {
        if (std.fileread("/etc/varnish/purge-token") !~ "^\S{16,}\s*$" ||
            req.http.Authorization != "Bearer " + regsub(std.fileread("/etc/varnish/purge-token"), "\s+$", "")) {
            return (synth(403, "Not a purger"));
        }
        if (!req.http.xkey-purge) {
            return (synth(400, "Name the tags in xkey-purge"));
        }
        return (synth(200, "Purged " + xkey.purge(req.http.xkey-purge)));
    }
    # Only this cache says which tags an answer has.
    unset req.http.xkey-purge;
    if (req.method != "GET" && req.method != "HEAD") {
        return (pass);
    }
    # What a token was shown for is its caller's alone.
    if (req.http.Authorization) {
        return (pass);
    }
    # While the service answers nothing old is served; a second try is made when it does not.
    if (req.restarts == 0 && std.healthy(req.backend_hint)) {
        set req.grace = 0s;
    } else {
        # What was set before a restart is still set.
        set req.grace = 30d;
    }
    # Nobody gets an answer whose fetch began before their request did.
    set req.hash_ignore_busy = true;
    return (hash);
}

sub vcl_backend_response {
    # Fetched without a token, so anybody would get it.
    if (beresp.status == 200 && beresp.http.CDN-Cache-Control ~ "max-age=[0-9]+") {
        set beresp.ttl = std.duration(regsub(beresp.http.CDN-Cache-Control, "^.*max-age=([0-9]+).*$", "\1s"), 0s);
        set beresp.grace = 0s;
        if (beresp.http.CDN-Cache-Control ~ "stale-if-error=[0-9]+") {
            set beresp.grace = std.duration(regsub(beresp.http.CDN-Cache-Control, "^.*stale-if-error=([0-9]+).*$", "\1s"), 0s);
        }
        set beresp.http.xkey = beresp.http.Surrogate-Key;
        return (deliver);
    }
    if (beresp.status == 200 && beresp.http.Cache-Control == "no-cache" && beresp.http.ETag && beresp.http.Vary !~ "Authorization") {
        # Kept to be asked about with If-None-Match, never to be served unasked.
        set beresp.ttl = 0s;
        set beresp.grace = 0s;
        set beresp.keep = 1d;
        return (deliver);
    }
    set beresp.uncacheable = true;
    set beresp.ttl = 0s;
    return (deliver);
}

sub vcl_deliver {
    # The service did not answer: once more, and then what is stale may be served.
    if (resp.status >= 500 && req.restarts == 0 && (req.method == "GET" || req.method == "HEAD") && !req.http.Authorization) {
        return (restart);
    }
    # Tags and times are between the service and its caches.
    unset resp.http.xkey;
    unset resp.http.Surrogate-Key;
    unset resp.http.Surrogate-Control;
    unset resp.http.CDN-Cache-Control;
    unset resp.http.Cache-Tag;
    unset resp.http.Edge-Cache-Tag;
    set resp.http.X-Cache = "miss";
    if (obj.hits > 0) {
        set resp.http.X-Cache = "hit";
    }
}

sub vcl_synth {
    if (req.method == "PURGE") {
        set resp.http.Content-Type = "text/plain";
        set resp.body = resp.reason + {"
"};
        return (deliver);
    }
}
