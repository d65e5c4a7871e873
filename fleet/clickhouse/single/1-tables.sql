-- Made by `conntrail-ship fleet ddl`. Run in tests.

CREATE DATABASE IF NOT EXISTS conntrail;

CREATE TABLE IF NOT EXISTS conntrail.relay_refused
(
    stream LowCardinality(String) COMMENT 'The stream that it came through.',
    stream_created DateTime64(3, 'UTC') COMMENT 'When that stream was made.',
    stream_sequence UInt64 COMMENT 'The place of the message in the stream.',
    published DateTime64(3, 'UTC') COMMENT 'When the stream took it.',
    received DateTime64(3, 'UTC') COMMENT 'When the relay had it.',
    subject String COMMENT 'Subject of the message.',
    message_id String COMMENT 'Its Nats-Msg-Id: the name of the batch, as its sender gave it.',
    reason String COMMENT 'Why it cannot be read.',
    body String COMMENT 'The message as it came.'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(published)
ORDER BY (stream, stream_created, stream_sequence)
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS conntrail.connections
(
    endpoint LowCardinality(String) COMMENT 'The installation that recorded it.',
    source LowCardinality(String) COMMENT 'The side trail that it stands in; empty for the recorder''s own trail.',
    epoch UInt64 CODEC(ZSTD(1)) COMMENT 'Counts the starts of what writes the trail, from 1.',
    hostname LowCardinality(String) COMMENT 'Host name of the machine.',
    os_name LowCardinality(String) COMMENT 'Operating system, as it names itself.',
    os_version LowCardinality(String) COMMENT 'Version of the operating system.',
    kernel LowCardinality(String) COMMENT 'Release of the kernel.',
    boot_id LowCardinality(String) COMMENT 'Random id of the boot.',
    machine_id LowCardinality(String) COMMENT 'The id that the operating system gave the machine.',
    agent_version LowCardinality(String) COMMENT 'Version of the recorder.',
    sequence UInt64 CODEC(Delta(8), ZSTD(1)) COMMENT 'Its place in the epoch, counted from 1 without a gap.',
    connection_epoch UInt64 CODEC(ZSTD(1)) COMMENT 'The epoch in which the connection was first seen.',
    connection UInt64 CODEC(Delta(8), ZSTD(1)) COMMENT 'Counts the connections of that epoch, from 1: with it, the name of the connection.',
    phase LowCardinality(String) COMMENT 'Which moment of its life: open, update or close.',
    start_time DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(3)) COMMENT 'When it began; where that is unknown, and so the duration, the time of the record.',
    duration_ms Nullable(UInt64) CODEC(T64, ZSTD(3)) COMMENT 'From its beginning to this record, which was made at start_time + duration_ms.',
    handshake_us Nullable(UInt64) CODEC(T64, ZSTD(3)) COMMENT 'From its beginning until it was established; unknown where it never was.',
    outcome LowCardinality(String) COMMENT 'How it ended, in our words; empty while it lives.',
    errno Nullable(Int32) CODEC(ZSTD(1)) COMMENT 'How it ended, in the words of the system.',
    direction LowCardinality(String) COMMENT 'Which side began: outbound, inbound or unknown.',
    transport LowCardinality(String) COMMENT 'tcp, udp, or the number of another protocol.',
    local_ip Nullable(IPv6) CODEC(ZSTD(3)) COMMENT 'Address of this machine.',
    local_port Nullable(UInt16) CODEC(T64, ZSTD(1)) COMMENT 'Port of this machine.',
    remote_ip Nullable(IPv6) CODEC(ZSTD(3)) COMMENT 'Address of the other side.',
    remote_port Nullable(UInt16) CODEC(ZSTD(1)) COMMENT 'Port of the other side.',
    remote_host LowCardinality(String) COMMENT 'The name that was asked for, where somebody told.',
    remote_host_source LowCardinality(String) COMMENT 'Who told the name.',
    bytes_out Nullable(UInt64) CODEC(T64, ZSTD(3)) COMMENT 'Application bytes sent.',
    bytes_in Nullable(UInt64) CODEC(T64, ZSTD(3)) COMMENT 'Application bytes received.',
    packets_out Nullable(UInt64) CODEC(T64, ZSTD(3)) COMMENT 'Packets or segments with data sent.',
    packets_in Nullable(UInt64) CODEC(T64, ZSTD(3)) COMMENT 'Packets or segments with data received.',
    byte_quality LowCardinality(String) COMMENT 'How well the bytes are known; a zero that nobody vouches for is null.',
    rtt_us Nullable(UInt32) CODEC(T64, ZSTD(3)) COMMENT 'Smoothed round-trip time at the close.',
    retransmits Nullable(UInt32) CODEC(T64, ZSTD(1)) COMMENT 'Segments sent again.',
    closer_pid Nullable(UInt32) CODEC(ZSTD(1)) COMMENT 'The process that closed the socket last, where it is another.',
    origin LowCardinality(String) COMMENT 'How the recorder came to know of the connection.',
    identity_source LowCardinality(String) COMMENT 'What told which process it was.',
    confidence LowCardinality(String) COMMENT 'How far that can be trusted.',
    network_namespace Nullable(UInt32) CODEC(ZSTD(1)) COMMENT 'Inode of the network namespace, which tells containers apart.',
    treated LowCardinality(String) COMMENT 'What the privacy policy did: field, action and rule, each mark after a comma.',
    connections UInt64 CODEC(T64, ZSTD(1)) COMMENT 'How many connections this row tells of: one, unless it is a sum.',
    aggregate_cause LowCardinality(String) COMMENT 'Why they are summed; empty for one.',
    aggregate_scope LowCardinality(String) COMMENT 'What they have in common; empty for one.',
    aggregate_limit Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'So many of a process have rows of their own in each interval.',
    aggregate_interval_ms Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'The interval.',
    process_start Nullable(DateTime64(3, 'UTC')) CODEC(Delta(8), ZSTD(3)) COMMENT 'When the process was forked.',
    pid Nullable(UInt32) CODEC(ZSTD(3)) COMMENT 'Process id; with the rest of the process, unknown where no process is named.',
    exec_id Nullable(UInt32) CODEC(ZSTD(3)) COMMENT 'Tells the programs apart that ran under the pid.',
    cpid Nullable(UUID) CODEC(ZSTD(1)) COMMENT 'Common Process ID of OCSF.',
    process_name LowCardinality(String) COMMENT 'Name of the executable file.',
    process_path LowCardinality(String) COMMENT 'Path of the executable file.',
    command_line String CODEC(ZSTD(3)) COMMENT 'Command line, where the policy asks for it.',
    executable_device Nullable(UInt32) CODEC(ZSTD(1)) COMMENT 'Device of the executable file.',
    executable_inode Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Inode of the executable file.',
    user_id Nullable(UInt32) CODEC(ZSTD(1)) COMMENT 'The user it ran as.',
    user_name LowCardinality(String) COMMENT 'Name of the user.',
    effective_user_id Nullable(UInt32) CODEC(ZSTD(1)) COMMENT 'The effective user, where it is another.',
    login_user_id Nullable(UInt32) CODEC(ZSTD(1)) COMMENT 'The user who logged in.',
    audit_session Nullable(UInt32) CODEC(ZSTD(1)) COMMENT 'Audit session, which tells the logins of one user apart.',
    process_vanished Nullable(Bool) COMMENT 'Whether the process was gone when it was looked up.',
    cgroup Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'Control group, which names the service or container.',
    signature LowCardinality(String) COMMENT 'Whether the system finds the code signature good; empty where nobody looked.',
    signature_status Nullable(Int32) CODEC(ZSTD(1)) COMMENT 'What the system answered where it does not.',
    signing_id LowCardinality(String) COMMENT 'Identifier that the signer gave.',
    team_id LowCardinality(String) COMMENT 'Team that signed.',
    cdhash LowCardinality(String) COMMENT 'Hash of the code directory, in hexadecimal.',
    is_platform Nullable(Bool) COMMENT 'Whether the program is part of the operating system.',
    parent_pid Nullable(UInt32) CODEC(ZSTD(3)) COMMENT 'Process id of the parent.',
    parent_cpid Nullable(UUID) CODEC(ZSTD(1)) COMMENT 'Common Process ID of the parent.',
    parent_name LowCardinality(String) COMMENT 'Name of the parent''s executable file.',
    parent_path LowCardinality(String) COMMENT 'Path of the parent''s executable file.',
    ancestors LowCardinality(String) COMMENT 'Names of parent, grandparent and so on, each after a <; ? for one without.',
    responsible_pid Nullable(UInt32) CODEC(ZSTD(3)) COMMENT 'Process id of the app on whose behalf it was made, where that is another process.',
    responsible_cpid Nullable(UUID) CODEC(ZSTD(1)) COMMENT 'Common Process ID of that app.',
    responsible_name LowCardinality(String) COMMENT 'Name of that app''s executable file.',
    responsible_path LowCardinality(String) COMMENT 'Path of that app''s executable file.',
    responsible_signing_id LowCardinality(String) COMMENT 'Identifier that the signer gave that app.',
    responsible_team_id LowCardinality(String) COMMENT 'Team that signed that app.',
    INDEX by_remote_ip remote_ip TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_remote_host remote_host TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_cdhash cdhash TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMMDD(start_time)
PRIMARY KEY (toStartOfHour(start_time), process_name)
ORDER BY (toStartOfHour(start_time), process_name, endpoint, source, epoch, sequence)
TTL toDateTime(start_time) + INTERVAL 400 DAY DELETE
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS conntrail.notices
(
    endpoint LowCardinality(String) COMMENT 'The installation that recorded it.',
    source LowCardinality(String) COMMENT 'The side trail that it stands in; empty for the recorder''s own trail.',
    epoch UInt64 CODEC(ZSTD(1)) COMMENT 'Counts the starts of what writes the trail, from 1.',
    hostname LowCardinality(String) COMMENT 'Host name of the machine.',
    os_name LowCardinality(String) COMMENT 'Operating system, as it names itself.',
    os_version LowCardinality(String) COMMENT 'Version of the operating system.',
    kernel LowCardinality(String) COMMENT 'Release of the kernel.',
    boot_id LowCardinality(String) COMMENT 'Random id of the boot.',
    machine_id LowCardinality(String) COMMENT 'The id that the operating system gave the machine.',
    agent_version LowCardinality(String) COMMENT 'Version of the recorder.',
    sequence UInt64 CODEC(Delta(8), ZSTD(1)) COMMENT 'Its place in the epoch, counted from 1 without a gap.',
    time DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(3)) COMMENT 'When it happened, or was noticed.',
    notice LowCardinality(String) COMMENT 'What happened.',
    sensor LowCardinality(String) COMMENT 'The sensor that it is about, if any.',
    state LowCardinality(String) COMMENT 'How something is now, where that is what it tells.',
    stage LowCardinality(String) COMMENT 'Where on the way something was lost.',
    cause LowCardinality(String) COMMENT 'Why it happened.',
    what LowCardinality(String) COMMENT 'What was lost.',
    count Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'How many of what it tells of; unknown where that cannot be known.',
    since Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)) COMMENT 'When the time that it tells of began.',
    destination LowCardinality(String) COMMENT 'The destination that it is about, if any.',
    about_source LowCardinality(String) COMMENT 'The side trail that it is about; empty also for the recorder''s own trail.',
    about_epoch Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'The epoch that it is about.',
    first_sequence Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'The first sequence that it is about.',
    last_sequence Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'The last sequence that it is about.',
    reason String CODEC(ZSTD(3)) COMMENT 'Why, in the words of who said so.',
    message String CODEC(ZSTD(3)) COMMENT 'All of it as a sentence.',
    details String CODEC(ZSTD(3)) COMMENT 'All that it says, as a JSON object.',
    INDEX by_notice notice TYPE set(100) GRANULARITY 4
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (endpoint, source, epoch, sequence)
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS conntrail.batches
(
    endpoint LowCardinality(String) COMMENT 'The installation that recorded it.',
    source LowCardinality(String) COMMENT 'The side trail that it stands in; empty for the recorder''s own trail.',
    epoch UInt64 CODEC(ZSTD(1)) COMMENT 'Counts the starts of what writes the trail, from 1.',
    hostname LowCardinality(String) COMMENT 'Host name of the machine.',
    os_name LowCardinality(String) COMMENT 'Operating system, as it names itself.',
    os_version LowCardinality(String) COMMENT 'Version of the operating system.',
    kernel LowCardinality(String) COMMENT 'Release of the kernel.',
    boot_id LowCardinality(String) COMMENT 'Random id of the boot.',
    machine_id LowCardinality(String) COMMENT 'The id that the operating system gave the machine.',
    agent_version LowCardinality(String) COMMENT 'Version of the recorder.',
    first_sequence UInt64 CODEC(Delta(8), ZSTD(1)) COMMENT 'The first sequence that it accounts for.',
    last_sequence UInt64 CODEC(Delta(8), ZSTD(1)) COMMENT 'The last sequence that it accounts for.',
    view UInt32 CODEC(ZSTD(1)) COMMENT 'Names the format, filter and policy of the destination that it was made for.',
    sent UInt64 CODEC(ZSTD(1)) COMMENT 'Records of the range that were sent.',
    left_out_opens UInt64 CODEC(ZSTD(1)) COMMENT 'Opens of connections that ended before they were due.',
    left_out_filtered UInt64 CODEC(ZSTD(1)) COMMENT 'Records that the filter of the destination does not ask for.',
    left_out_dropped UInt64 CODEC(ZSTD(1)) COMMENT 'Records that the privacy policy of the destination drops.',
    left_out_refused UInt64 CODEC(ZSTD(1)) COMMENT 'Records that the destination refused, and that were declared.',
    left_out_missing UInt64 CODEC(ZSTD(1)) COMMENT 'Records that the trail no longer had, or could not read; declared.',
    digest String COMMENT 'SHA-256 in hexadecimal over the flat texts of what was sent.',
    head_epoch Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'The epoch of the hash chain''s head.',
    head_sequence Nullable(UInt64) CODEC(ZSTD(1)) COMMENT 'The last record that the head covers.',
    head_hash String COMMENT 'The head of the hash chain, SHA-256 in hexadecimal; empty where there is none.',
    stream LowCardinality(String) COMMENT 'The stream that it came through.',
    stream_created DateTime64(3, 'UTC') COMMENT 'When that stream was made.',
    stream_sequence UInt64 COMMENT 'The place of its message in the stream.',
    published DateTime64(3, 'UTC') COMMENT 'When the stream took it.',
    received DateTime64(3, 'UTC') COMMENT 'When the relay had it.',
    first_time Nullable(DateTime64(3, 'UTC')) COMMENT 'Time of its oldest record, if any.',
    last_time Nullable(DateTime64(3, 'UTC')) COMMENT 'Time of its newest record, if any.',
    days Array(Date) COMMENT 'Partitions of its records.'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(published)
ORDER BY (endpoint, source, epoch, first_sequence, last_sequence, view, stream, stream_created, stream_sequence)
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;
