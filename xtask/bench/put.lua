-- PUTs of movies that did not exist, each by one thread of one run.
-- Usage: wrk -s xtask/bench/put.lua URL -- RUN
dofile("xtask/bench/report.lua")

function init(arguments)
  run = arguments[1] or "run"
  count = 0
  headers = { ["Content-Type"] = "application/json" }
  body = '{"director":"Ann Example","genre":"Drama","plot":"' .. string.rep("A plot. ", 40) .. '"}'
end

function request()
  count = count + 1
  local path = string.format("/api/movies/Bench-%s-%d-%d/2010", run, thread_number, count)
  return wrk.format("PUT", path, headers, body)
end
