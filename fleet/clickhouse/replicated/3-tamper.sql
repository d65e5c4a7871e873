-- Made by `conntrail-ship fleet ddl --replicated`. NOT RUN: no test has replicated servers.
-- It differs from the single form only in what names the cluster, the engines and their storage.

-- What was shipped, beside what is stored now. Every manifest carries SHA-256 over the texts of its
-- records; here it is made again from the columns. A join by stretches of 1,024 sequences finds the
-- records of each manifest, so that it costs in proportion to them.
CREATE OR REPLACE VIEW conntrail.tamper_batches ON CLUSTER 'conntrail' AS
WITH
    texts AS
    (
        SELECT endpoint, source, epoch, sequence, concat('connection\t', toString(length(endpoint)), ':', endpoint, '\t', toString(length(source)), ':', source, '\t', toString(epoch), '\t', toString(length(hostname)), ':', hostname, '\t', toString(length(os_name)), ':', os_name, '\t', toString(length(os_version)), ':', os_version, '\t', toString(length(kernel)), ':', kernel, '\t', toString(length(boot_id)), ':', boot_id, '\t', toString(length(machine_id)), ':', machine_id, '\t', toString(length(agent_version)), ':', agent_version, '\t', toString(sequence), '\t', toString(connection_epoch), '\t', toString(connection), '\t', toString(length(phase)), ':', phase, '\t', toString(toUnixTimestamp64Milli(start_time)), '\t', ifNull(toString(duration_ms), ''), '\t', ifNull(toString(handshake_us), ''), '\t', toString(length(outcome)), ':', outcome, '\t', ifNull(toString(errno), ''), '\t', toString(length(direction)), ':', direction, '\t', toString(length(transport)), ':', transport, '\t', ifNull(lower(hex(local_ip)), ''), '\t', ifNull(toString(local_port), ''), '\t', ifNull(lower(hex(remote_ip)), ''), '\t', ifNull(toString(remote_port), ''), '\t', toString(length(remote_host)), ':', remote_host, '\t', toString(length(remote_host_source)), ':', remote_host_source, '\t', ifNull(toString(bytes_out), ''), '\t', ifNull(toString(bytes_in), ''), '\t', ifNull(toString(packets_out), ''), '\t', ifNull(toString(packets_in), ''), '\t', toString(length(byte_quality)), ':', byte_quality, '\t', ifNull(toString(rtt_us), ''), '\t', ifNull(toString(retransmits), ''), '\t', ifNull(toString(closer_pid), ''), '\t', toString(length(origin)), ':', origin, '\t', toString(length(identity_source)), ':', identity_source, '\t', toString(length(confidence)), ':', confidence, '\t', ifNull(toString(network_namespace), ''), '\t', toString(length(treated)), ':', treated, '\t', toString(connections), '\t', toString(length(aggregate_cause)), ':', aggregate_cause, '\t', toString(length(aggregate_scope)), ':', aggregate_scope, '\t', ifNull(toString(aggregate_limit), ''), '\t', ifNull(toString(aggregate_interval_ms), ''), '\t', ifNull(toString(toUnixTimestamp64Milli(process_start)), ''), '\t', ifNull(toString(pid), ''), '\t', ifNull(toString(exec_id), ''), '\t', ifNull(toString(cpid), ''), '\t', toString(length(process_name)), ':', process_name, '\t', toString(length(process_path)), ':', process_path, '\t', toString(length(command_line)), ':', command_line, '\t', ifNull(toString(executable_device), ''), '\t', ifNull(toString(executable_inode), ''), '\t', ifNull(toString(user_id), ''), '\t', toString(length(user_name)), ':', user_name, '\t', ifNull(toString(effective_user_id), ''), '\t', ifNull(toString(login_user_id), ''), '\t', ifNull(toString(audit_session), ''), '\t', ifNull(toString(toUInt8(process_vanished)), ''), '\t', ifNull(toString(cgroup), ''), '\t', toString(length(signature)), ':', signature, '\t', ifNull(toString(signature_status), ''), '\t', toString(length(signing_id)), ':', signing_id, '\t', toString(length(team_id)), ':', team_id, '\t', toString(length(cdhash)), ':', cdhash, '\t', ifNull(toString(toUInt8(is_platform)), ''), '\t', ifNull(toString(parent_pid), ''), '\t', ifNull(toString(parent_cpid), ''), '\t', toString(length(parent_name)), ':', parent_name, '\t', toString(length(parent_path)), ':', parent_path, '\t', toString(length(ancestors)), ':', ancestors, '\t', ifNull(toString(responsible_pid), ''), '\t', ifNull(toString(responsible_cpid), ''), '\t', toString(length(responsible_name)), ':', responsible_name, '\t', toString(length(responsible_path)), ':', responsible_path, '\t', toString(length(responsible_signing_id)), ':', responsible_signing_id, '\t', toString(length(responsible_team_id)), ':', responsible_team_id) AS row_text
        FROM conntrail.connections FINAL
        UNION ALL
        SELECT endpoint, source, epoch, sequence, concat('notice\t', toString(length(endpoint)), ':', endpoint, '\t', toString(length(source)), ':', source, '\t', toString(epoch), '\t', toString(length(hostname)), ':', hostname, '\t', toString(length(os_name)), ':', os_name, '\t', toString(length(os_version)), ':', os_version, '\t', toString(length(kernel)), ':', kernel, '\t', toString(length(boot_id)), ':', boot_id, '\t', toString(length(machine_id)), ':', machine_id, '\t', toString(length(agent_version)), ':', agent_version, '\t', toString(sequence), '\t', toString(toUnixTimestamp64Milli(time)), '\t', toString(length(notice)), ':', notice, '\t', toString(length(sensor)), ':', sensor, '\t', toString(length(state)), ':', state, '\t', toString(length(stage)), ':', stage, '\t', toString(length(cause)), ':', cause, '\t', toString(length(what)), ':', what, '\t', ifNull(toString(count), ''), '\t', ifNull(toString(toUnixTimestamp64Milli(since)), ''), '\t', toString(length(destination)), ':', destination, '\t', toString(length(about_source)), ':', about_source, '\t', ifNull(toString(about_epoch), ''), '\t', ifNull(toString(first_sequence), ''), '\t', ifNull(toString(last_sequence), ''), '\t', toString(length(reason)), ':', reason, '\t', toString(length(message)), ':', message, '\t', toString(length(details)), ':', details) AS row_text
        FROM conntrail.notices FINAL
    ),
    stretches AS
    (
        SELECT *, arrayJoin(range(intDiv(first_sequence, 1024), intDiv(last_sequence, 1024) + 1))
            AS stretch
        FROM conntrail.manifests
        WHERE NOT is_expired AND last_sequence >= first_sequence
    ),
    made_again AS
    (
        SELECT
            stretches.endpoint AS endpoint, stretches.source AS source, stretches.epoch AS epoch,
            stretches.first_sequence AS first_sequence, stretches.last_sequence AS last_sequence,
            stretches.view AS view, count() AS rows, uniqExact(sequence) AS sequences,
            lower(hex(SHA256(arrayStringConcat(arrayMap(it -> it.2, arraySort(it -> it.1, groupArray((sequence, row_text)))), '\n')))) AS digest_now
        FROM stretches
        INNER JOIN (SELECT *, intDiv(sequence, 1024) AS stretch FROM texts) AS texts
            ON stretches.endpoint = texts.endpoint AND stretches.source = texts.source
            AND stretches.epoch = texts.epoch AND stretches.stretch = texts.stretch
        WHERE sequence >= stretches.first_sequence AND sequence <= stretches.last_sequence
        GROUP BY endpoint, source, epoch, first_sequence, last_sequence, view
    )
SELECT
    manifests.endpoint AS endpoint, manifests.source AS source, manifests.epoch AS epoch,
    manifests.first_sequence AS first_sequence, manifests.last_sequence AS last_sequence,
    manifests.view AS view, manifests.sent AS sent, made_again.rows AS rows,
    manifests.digest AS digest,
    -- Nothing was sent, and nothing is there: the digest of no text.
    if(made_again.rows = 0, lower(hex(SHA256(''))), made_again.digest_now) AS digest_now,
    multiIf(
        manifests.versions > 1, 'manifest forged',
        manifests.sent + manifests.opens + manifests.filtered + manifests.dropped
            + manifests.refused + manifests.missing
            != manifests.last_sequence - manifests.first_sequence + 1, 'manifest changed',
        manifests.digest = digest_now, 'whole',
        made_again.rows < manifests.sent, 'rows missing',
        made_again.rows > manifests.sent, 'rows added',
        'rows changed') AS finding
FROM conntrail.manifests AS manifests
LEFT JOIN made_again ON manifests.endpoint = made_again.endpoint
    AND manifests.source = made_again.source AND manifests.epoch = made_again.epoch
    AND manifests.first_sequence = made_again.first_sequence
    AND manifests.last_sequence = made_again.last_sequence AND manifests.view = made_again.view
WHERE NOT manifests.is_expired;

-- Sequences of an epoch that no manifest accounts for and nobody declared, as ranges.
CREATE OR REPLACE VIEW conntrail.tamper_gaps ON CLUSTER 'conntrail' AS
SELECT
    endpoint, source, epoch, reached + 1 AS first_sequence,
    toUInt64(next - 1) AS last_sequence
FROM
(
    SELECT
        endpoint, source, epoch, first_sequence AS next,
        max(last_sequence) OVER (PARTITION BY endpoint, source, epoch
            ORDER BY first_sequence, last_sequence
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS reached
    FROM
    (
        SELECT endpoint, source, epoch, first_sequence, last_sequence FROM conntrail.manifests
        UNION ALL
        SELECT endpoint, source, epoch, first_sequence, last_sequence FROM conntrail.declared
        WHERE first_sequence > 0 AND last_sequence >= first_sequence
        UNION ALL
        -- Whatever is known to be the end is followed by nothing.
        SELECT endpoint, source, epoch, last_known + 1, last_known + 1 FROM conntrail.epoch_ends
    )
)
WHERE next > reached + 1;

-- Records that no manifest accounts for. Those of a round that is under way are here for a moment.
CREATE OR REPLACE VIEW conntrail.tamper_strays ON CLUSTER 'conntrail' AS
WITH reach AS
(
    SELECT endpoint, source, epoch, first_sequence,
        max(last_sequence) OVER (PARTITION BY endpoint, source, epoch
            ORDER BY first_sequence, last_sequence) AS reached
    FROM conntrail.manifests
)
SELECT stored.endpoint AS endpoint, stored.source AS source, stored.epoch AS epoch,
    stored.sequence AS sequence
FROM conntrail.stored AS stored
ASOF LEFT JOIN reach ON stored.endpoint = reach.endpoint AND stored.source = reach.source
    AND stored.epoch = reach.epoch AND stored.sequence >= reach.first_sequence
WHERE reach.reached < stored.sequence;

-- Messages that came through the stream and of which nothing is left: what was cut off at the end
-- of an epoch, with its manifest, is missing here. Those of the last ten minutes may be under way.
CREATE OR REPLACE VIEW conntrail.tamper_streams ON CLUSTER 'conntrail' AS
SELECT stream, stream_created, reached + 1 AS first_missing, toUInt64(stream_sequence - 1) AS last_missing,
    before AS published_after, published AS published_before
FROM
(
    SELECT
        stream, stream_created, stream_sequence, published,
        lagInFrame(stream_sequence, 1, 0) OVER in_order AS reached,
        lagInFrame(published, 1, stream_created) OVER in_order AS before
    FROM
    (
        SELECT DISTINCT stream, stream_created, stream_sequence, published FROM conntrail.batches
        UNION DISTINCT
        SELECT DISTINCT stream, stream_created, stream_sequence, published
        FROM conntrail.relay_refused
    )
    WINDOW in_order AS (PARTITION BY stream, stream_created ORDER BY stream_sequence
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
)
WHERE stream_sequence > reached + 1;

-- The last chain head that each epoch brought: `conntrail verify --anchor HEAD` on the machine says
-- whether what it has is still what it shipped.
CREATE OR REPLACE VIEW conntrail.heads ON CLUSTER 'conntrail' AS
SELECT
    endpoint, source, epoch, any(host) AS host, max(last_sequence) AS last_received,
    argMax(concat(toString(head_epoch), ':', toString(head_sequence), ':', head_hash),
        head_sequence) AS head
FROM conntrail.manifests
WHERE isNotNull(head_sequence)
GROUP BY endpoint, source, epoch;

-- Everything that is wrong. Nothing is what an untouched store gives.
CREATE OR REPLACE VIEW conntrail.tamper ON CLUSTER 'conntrail' AS
SELECT finding, endpoint, source, epoch, first_sequence, last_sequence,
    concat(toString(rows), ' of ', toString(sent), ' rows') AS detail
FROM conntrail.tamper_batches WHERE finding != 'whole'
UNION ALL
SELECT 'gap', endpoint, source, epoch, first_sequence, last_sequence, 'no manifest'
FROM conntrail.tamper_gaps
UNION ALL
SELECT 'stray row', endpoint, source, epoch, sequence, sequence, 'no manifest'
FROM conntrail.tamper_strays
UNION ALL
SELECT 'message gone', '', '', toUInt64(0), first_missing, last_missing,
    concat('of the stream ', stream, ', after ', toString(published_after))
FROM conntrail.tamper_streams;
