"""Traces and metrics by OTLP, from settled requests, on a thread of its own.

`names` is the one table of what things are called there; `export` the bounded queue and the thread. Nothing here is
imported unless `telemetry.otlp` is configured; OpenTelemetry's SDK is the extra `otel`.
"""
