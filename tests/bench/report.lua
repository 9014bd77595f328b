-- What wrk measured, as one line of JSON on standard error: the table on standard output is for people.
function done(summary, latency)
    local errors = summary.errors
    io.stderr:write(string.format(
        '{"requests":%d,"seconds":%.6f,"p50_ms":%.4f,"p99_ms":%.4f,"failed":%d}\n',
        summary.requests,
        summary.duration / 1e6,
        latency:percentile(50) / 1000,
        latency:percentile(99) / 1000,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout
    ))
end
