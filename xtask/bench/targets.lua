-- GETs or PUTs of movies drawn from a file of paths, one a line; each PUT is a change.
-- Usage: wrk -s xtask/bench/targets.lua URL -- GET|PUT FILE
dofile("xtask/bench/report.lua")

function init(arguments)
  method = arguments[1]
  paths = {}
  for path in io.lines(arguments[2]) do
    paths[#paths + 1] = path
  end
  -- Another run draws other movies and writes other words: an equal PUT would change nothing.
  math.randomseed(os.time() * 2 + thread_number)
  count = os.time() % 100000 * 1000000
  headers = { ["Content-Type"] = "application/json" }
  -- About the size of a generated movie, so that the catalogue keeps its size.
  body = '{"director":"Ann Example","genres":["Drama","Crime"],"runtime":104,"rating":6.4,'
    .. '"votes":%d,"cast":["Bo Example","Cleo Example","Dan Example","Eve Example"]}'
end

function request()
  local path = paths[math.random(#paths)]
  if method == "GET" then
    return wrk.format("GET", path)
  end
  count = count + 1
  return wrk.format("PUT", path, headers, string.format(body, count * 2 + thread_number))
end
