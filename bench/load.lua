-- Each request takes the next token of the file that is named by the environment.
local tokens, at = {}, 0
for line in io.lines(os.getenv("BENCH_TOKENS")) do tokens[#tokens + 1] = line end
request = function()
  at = at % #tokens + 1
  wrk.headers["Authorization"] = "Bearer " .. tokens[at]
  return wrk.format("GET", "/orders/v1/42")
end
local threads = {}
setup = function(thread) threads[#threads + 1] = thread end
response = function(status) if status == 200 then ok = (ok or 0) + 1 else other = (other or 0) + 1 end end
done = function(summary)
  local good, bad = 0, 0
  for _, thread in ipairs(threads) do
    good, bad = good + (thread:get("ok") or 0), bad + (thread:get("other") or 0)
  end
  print(string.format("BENCH %d %d %d", good, bad, summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
