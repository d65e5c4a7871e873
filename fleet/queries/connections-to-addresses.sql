-- Everything that went to, or came from, these addresses. Put yours in; version 4 as it is.
WITH ['203.0.113.66', '2001:db8::66'] AS addresses
SELECT
    start_time, endpoint, hostname, process_name, process_path, user_name, direction,
    remote_ip, remote_port, remote_host, bytes_out, bytes_in, outcome
FROM conntrail.connections FINAL
WHERE phase = 'close' AND remote_ip IN arrayMap(it -> toIPv6(it), addresses)
ORDER BY start_time, endpoint, sequence;
