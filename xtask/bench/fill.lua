-- PUTs every line of a file once, and again from its beginning; the threads take turns.
-- A line is PATH, a tab and the movie.
-- Usage: wrk -s xtask/bench/fill.lua URL -- FILE THREADS
dofile("xtask/bench/report.lua")

function init(arguments)
  file = assert(io.open(arguments[1]))
  stride = tonumber(arguments[2])
  headers = { ["Content-Type"] = "application/json" }
  skip(thread_number - 1)
end

function skip(lines)
  for _ = 1, lines do
    if not file:read("*l") then return end
  end
end

function request()
  local line = file:read("*l")
  if not line then
    file:seek("set")
    skip(thread_number - 1)
    line = file:read("*l")
  end
  skip(stride - 1)
  local path, movie = line:match("^(.-)\t(.*)$")
  return wrk.format("PUT", path, headers, movie)
end
