-- Load by wrk: GET of one path, each call with another key. Says at the end, in one line that load.rs reads, how many
-- calls were answered and how many went wrong. Arguments: the path, a file with a key a line, how many headers more.

-- Keys are taken in strides, so that neighbours in the file are not neighbours in time. Prime, so that all are used.
local KEY_STRIDE = 7919

local requests = {}
local at = 0

function init(args)
   local headers = {}
   for n = 1, tonumber(args[3]) do
      headers["X-Extra-" .. n] = "some value of a header " .. n
   end
   for key in io.lines(args[2]) do
      headers["X-Api-Key"] = key
      requests[#requests + 1] = wrk.format("GET", args[1], headers)
   end
end

function request()
   at = (at + KEY_STRIDE) % #requests
   return requests[at + 1]
end

function done(summary, latency, _)
   local e = summary.errors
   io.write(string.format("counted %d %d %d %d %d %d %d %d\n",
      summary.requests, e.status, e.connect + e.read + e.write + e.timeout, summary.duration,
      latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max))
end
