-- Logins of one user, again and again, with one password.
-- Usage: wrk -s xtask/bench/login.lua URL -- PASSWORD
dofile("xtask/bench/report.lua")

function init(arguments)
  headers = { ["Content-Type"] = "application/json" }
  body = string.format('{"username":"testuser","password":"%s"}', arguments[1])
end

function request()
  return wrk.format("POST", "/login", headers, body)
end
