-- Small text requests without an id of their own, as most clients send them; one line of figures at the end.
local bodies, at = {}, 0
function init(args)
  for k = 1, 256 do
    local body = string.format(
      '{"task_type":"text_classification","data":"a short and ordinary sentence to classify, number %d"}', k)
    bodies[k] = wrk.format("POST", "/infer", { ["Content-Type"] = "application/json" }, body)
  end
end
function request()
  at = at % #bodies + 1
  return bodies[at]
end
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("figures %d %d %.1f %.1f %d\n", summary.requests - e.status, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
