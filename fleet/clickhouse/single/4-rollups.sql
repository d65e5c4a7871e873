-- Made by `conntrail-ship fleet ddl`. Run in tests.

-- Rollups. What is delivered again after a fault stands twice in a table until it is merged, so
-- sums that grow with every insert would count it twice. These are made anew instead, day by day
-- from merged rows, for the days that something came for; the newest of each line counts.
CREATE TABLE IF NOT EXISTS conntrail.daily_destinations
(
    day Date,
    process_name LowCardinality(String),
    signing_id LowCardinality(String),
    team_id LowCardinality(String),
    remote_host LowCardinality(String),
    remote_ip Nullable(IPv6) COMMENT 'Only where no name is known.',
    remote_port Nullable(UInt16),
    connections UInt64,
    endpoints UInt64,
    bytes_out Nullable(UInt64) COMMENT 'Of connections whose bytes are known; null where of none.',
    bytes_in Nullable(UInt64),
    connections_without_bytes UInt64,
    refreshed DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(refreshed)
PARTITION BY toYYYYMM(day)
ORDER BY (day, process_name, signing_id, team_id, remote_host, remote_ip, remote_port)
TTL day + INTERVAL 400 DAY DELETE
SETTINGS allow_nullable_key = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS conntrail.daily_destinations_refresh
REFRESH EVERY 1 HOUR APPEND TO conntrail.daily_destinations AS
SELECT
    toDate(start_time) AS day, process_name, signing_id, team_id, remote_host,
    if(remote_host = '', remote_ip, NULL) AS remote_ip, remote_port,
    sum(connections.connections) AS connections, uniqExact(endpoint) AS endpoints,
    sum(connections.bytes_out) AS bytes_out, sum(connections.bytes_in) AS bytes_in,
    sumIf(connections.connections, isNull(connections.bytes_out)) AS connections_without_bytes,
    now64(3) AS refreshed
FROM conntrail.connections AS connections FINAL
WHERE phase = 'close'
    AND toDate(start_time) IN
    (
        SELECT arrayJoin(days) FROM conntrail.batches WHERE received > now() - INTERVAL 3 HOUR
    )
GROUP BY day, process_name, signing_id, team_id, remote_host, remote_ip, remote_port;

CREATE TABLE IF NOT EXISTS conntrail.daily_processes
(
    day Date,
    endpoint LowCardinality(String),
    process_name LowCardinality(String),
    user_name LowCardinality(String),
    connections UInt64,
    destinations UInt64,
    bytes_out Nullable(UInt64) COMMENT 'Of connections whose bytes are known; null where of none.',
    bytes_in Nullable(UInt64),
    refreshed DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(refreshed)
PARTITION BY toYYYYMM(day)
ORDER BY (day, endpoint, process_name, user_name)
TTL day + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 0;

CREATE MATERIALIZED VIEW IF NOT EXISTS conntrail.daily_processes_refresh
REFRESH EVERY 1 HOUR APPEND TO conntrail.daily_processes AS
SELECT
    toDate(start_time) AS day, endpoint, process_name, user_name,
    sum(connections.connections) AS connections,
    uniqExact(remote_host, remote_ip) AS destinations,
    sum(connections.bytes_out) AS bytes_out, sum(connections.bytes_in) AS bytes_in,
    now64(3) AS refreshed
FROM conntrail.connections AS connections FINAL
WHERE phase = 'close'
    AND toDate(start_time) IN
    (
        SELECT arrayJoin(days) FROM conntrail.batches WHERE received > now() - INTERVAL 3 HOUR
    )
GROUP BY day, endpoint, process_name, user_name;
