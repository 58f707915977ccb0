-- Prints what wrk measured as one line of JSON. Runs once, after the load; times in microseconds.
function done(summary, latency, requests)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "duration": %d, "p50": %d, "p90": %d, "p99": %d, "max": %d, "failed": %d}\n',
      summary.requests, summary.duration,
      latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
