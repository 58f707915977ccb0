-- A bearer of its own for each request, from the file that BEARERS names; then the report.
dofile(os.getenv("REPORT"))

local requests = {}
local next_one = 0

function init(args)
   for bearer in io.lines(os.getenv("BEARERS")) do
      requests[#requests + 1] = wrk.format("GET", nil, {["Host"] = wrk.headers["Host"], ["Authorization"] = "Bearer " .. bearer})
   end
end

function request()
   next_one = next_one + 1
   return requests[next_one] or error("there are too few bearers")
end
