-- Made by `conntrail-ship fleet ddl --replicated`. NOT RUN: no test has replicated servers.
-- It differs from the single form only in what names the cluster, the engines and their storage.

-- What the ledger takes for granted. Change it here, and only here.
CREATE OR REPLACE VIEW conntrail.ledger_settings ON CLUSTER 'conntrail' AS
SELECT
    -- What shippers call this store, as in `[destination.NAME]`. Declarations of loss about other
    -- destinations explain nothing here. Empty: all declarations count.
    CAST([] AS Array(String)) AS destinations,
    -- Whoever said nothing for so long is silent.
    7200 AS silent_after_s,
    -- What was published so much later than it was recorded is late.
    3600 AS late_after_s,
    -- As the TTL of the table `connections`: rows that may have expired are not missed.
    400 AS retention_days;

-- Manifests, each once however often its batch came, with how often it came.
CREATE OR REPLACE VIEW conntrail.manifests ON CLUSTER 'conntrail' AS
SELECT
    endpoint, source, epoch, first_sequence, last_sequence, view,
    any(b.hostname) AS host,
    any(b.sent) AS sent,
    any(b.left_out_opens) AS opens,
    any(b.left_out_filtered) AS filtered,
    any(b.left_out_dropped) AS dropped,
    any(b.left_out_refused) AS refused,
    any(b.left_out_missing) AS missing,
    any(b.digest) AS digest,
    any(b.head_epoch) AS head_epoch,
    any(b.head_sequence) AS head_sequence,
    any(b.head_hash) AS head_hash,
    -- The same name must mean the same bytes: more than one is a forgery.
    uniqExact(b.sent, b.left_out_opens, b.left_out_filtered, b.left_out_dropped,
        b.left_out_refused, b.left_out_missing, b.digest, b.head_hash) AS versions,
    uniqExact(stream, stream_created, stream_sequence) AS arrivals,
    min(b.published) AS published,
    min(b.first_time) AS first_time,
    max(b.last_time) AS last_time,
    ifNull(min(b.first_time) < now() - toIntervalDay(
        (SELECT retention_days FROM conntrail.ledger_settings)), false) AS is_expired
FROM conntrail.batches AS b
GROUP BY endpoint, source, epoch, first_sequence, last_sequence, view;

-- Ranges of which somebody said that they would not come, or not wholly.
CREATE OR REPLACE VIEW conntrail.declared ON CLUSTER 'conntrail' AS
SELECT
    endpoint, about_source AS source, assumeNotNull(about_epoch) AS epoch,
    assumeNotNull(first_sequence) AS first_sequence,
    assumeNotNull(last_sequence) AS last_sequence,
    cause, reason
FROM conntrail.notices
WHERE notice = 'undelivered' AND isNotNull(about_epoch) AND isNotNull(first_sequence)
    AND isNotNull(last_sequence)
    AND (empty((SELECT destinations FROM conntrail.ledger_settings))
        OR has((SELECT destinations FROM conntrail.ledger_settings), destination))
UNION DISTINCT
SELECT
    endpoint, source, assumeNotNull(about_epoch), assumeNotNull(first_sequence),
    assumeNotNull(last_sequence), 'evicted', message
FROM conntrail.notices
WHERE notice = 'trail_evicted' AND isNotNull(about_epoch) AND isNotNull(first_sequence)
    AND isNotNull(last_sequence)
UNION DISTINCT
-- What the relay set aside, by the name that its sender gave it.
SELECT
    parts[1], parts[2], toUInt64OrZero(parts[3]), toUInt64OrZero(parts[4]),
    toUInt64OrZero(parts[5]), 'set_aside', reason
FROM
(
    SELECT
        extractGroups(message_id,
            '^([0-9a-f-]{36})(?:\\.([a-z0-9_-]+?))?-(\\d+)-(\\d+)-(\\d+)-[0-9a-f]{8}$') AS parts,
        reason
    FROM conntrail.relay_refused
)
WHERE length(parts) = 5;

-- Records that are there, each once.
CREATE OR REPLACE VIEW conntrail.stored ON CLUSTER 'conntrail' AS
SELECT endpoint, source, epoch, sequence, count() AS copies
FROM
(
    SELECT endpoint, source, epoch, sequence FROM conntrail.connections
    UNION ALL
    SELECT endpoint, source, epoch, sequence FROM conntrail.notices
)
GROUP BY endpoint, source, epoch, sequence;

-- How far each epoch is known to go, whoever says so: manifests, chain heads, declarations, the
-- records themselves, and the epoch after, which names the last sequence of the one before.
CREATE OR REPLACE VIEW conntrail.epoch_ends ON CLUSTER 'conntrail' AS
SELECT endpoint, source, epoch, max(last) AS last_known, max(is_told) AS is_ended
FROM
(
    SELECT endpoint, source, epoch, last_sequence AS last, 0 AS is_told FROM conntrail.batches
    UNION ALL
    SELECT endpoint, source, assumeNotNull(head_epoch), assumeNotNull(head_sequence), 0
    FROM conntrail.batches WHERE isNotNull(head_epoch) AND isNotNull(head_sequence)
    UNION ALL
    SELECT endpoint, source, epoch, last_sequence, 0 FROM conntrail.declared
    UNION ALL
    SELECT endpoint, source, epoch, sequence, 0 FROM conntrail.notices
    UNION ALL
    SELECT endpoint, source, epoch, sequence, 0 FROM conntrail.connections
    UNION ALL
    SELECT
        endpoint, source, JSONExtractUInt(details, 'previous_epoch'),
        JSONExtractUInt(details, 'previous_last_sequence'), 1
    FROM conntrail.notices
    WHERE notice = 'recorder_started' AND JSONHas(details, 'previous_epoch')
)
GROUP BY endpoint, source, epoch;

-- Every sequence once, whatever overlaps: each range adds what lies beyond all ranges before it.
-- `accounted` is of manifests alone, `explained` of manifests and declarations together.
CREATE OR REPLACE VIEW conntrail.covered ON CLUSTER 'conntrail' AS
SELECT
    endpoint, source, epoch,
    sum(if(kind = 1 AND last_sequence > manifests_before,
        last_sequence - greatest(manifests_before, first_sequence - 1), 0)) AS accounted,
    sum(if(last_sequence > all_before,
        last_sequence - greatest(all_before, first_sequence - 1), 0)) AS explained
FROM
(
    SELECT
        endpoint, source, epoch, first_sequence, last_sequence, kind,
        max(if(kind = 1, last_sequence, 0)) OVER before_this AS manifests_before,
        max(last_sequence) OVER before_this AS all_before
    FROM
    (
        SELECT endpoint, source, epoch, first_sequence, last_sequence, 1 AS kind
        FROM conntrail.manifests
        UNION ALL
        SELECT endpoint, source, epoch, first_sequence, last_sequence, 2
        FROM conntrail.declared WHERE first_sequence > 0 AND last_sequence >= first_sequence
    )
    WINDOW before_this AS (PARTITION BY endpoint, source, epoch
        ORDER BY first_sequence, last_sequence, kind
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
GROUP BY endpoint, source, epoch;

-- Each manifest beside what is there of its range. Ranges are compared by how many records stand
-- up to their ends, so that it costs no more than to sort.
CREATE OR REPLACE VIEW conntrail.manifest_rows ON CLUSTER 'conntrail' AS
WITH ranked AS
(
    SELECT
        endpoint, source, epoch, sequence,
        row_number() OVER (PARTITION BY endpoint, source, epoch ORDER BY sequence) AS rank
    FROM conntrail.stored
),
excused AS
(
    SELECT endpoint, source, epoch, groupArray((first_sequence, last_sequence)) AS ranges
    FROM conntrail.declared GROUP BY endpoint, source, epoch
)
SELECT
    ends.endpoint AS endpoint, ends.source AS source, ends.epoch AS epoch,
    ends.first_sequence AS first_sequence, ends.last_sequence AS last_sequence, ends.view AS view,
    ends.sent AS sent, ends.is_expired AS is_expired,
    ends.up_to_last - starts.rank AS rows,
    arrayExists(it -> it.1 <= ends.last_sequence AND it.2 >= ends.first_sequence, excused.ranges)
        AS is_declared,
    if(ends.is_expired OR ends.sent <= rows, 0, ends.sent - rows) AS rows_missing
FROM
(
    SELECT manifests.*, ranked.rank AS up_to_last, toUInt64(manifests.first_sequence - 1) AS before_first
    FROM conntrail.manifests AS manifests
    ASOF LEFT JOIN ranked ON manifests.endpoint = ranked.endpoint
        AND manifests.source = ranked.source AND manifests.epoch = ranked.epoch
        AND manifests.last_sequence >= ranked.sequence
) AS ends
ASOF LEFT JOIN ranked AS starts ON ends.endpoint = starts.endpoint AND ends.source = starts.source
    AND ends.epoch = starts.epoch AND ends.before_first >= starts.sequence
LEFT JOIN excused ON ends.endpoint = excused.endpoint AND ends.source = excused.source
    AND ends.epoch = excused.epoch;

-- The ledger: a line an endpoint, trail and epoch. `unexplained` must be zero.
CREATE OR REPLACE VIEW conntrail.ledger ON CLUSTER 'conntrail' AS
WITH
    books AS
    (
        SELECT
            endpoint, source, epoch, any(m.host) AS host, count() AS batches,
            sum(m.arrivals) - count() AS batches_repeated,
            sum(m.last_sequence - m.first_sequence + 1) AS ranges,
            sum(m.sent) AS sent, sum(m.opens) AS opens, sum(m.filtered) AS filtered,
            sum(m.dropped) AS dropped, sum(m.refused) AS refused, sum(m.missing) AS missing,
            countIf(m.is_expired) AS batches_expired,
            countIf(m.last_time < m.published
                - toIntervalSecond((SELECT late_after_s FROM conntrail.ledger_settings)))
                AS batches_late,
            max(m.published) AS last_published
        FROM conntrail.manifests AS m GROUP BY endpoint, source, epoch
    ),
    compared AS
    (
        SELECT
            endpoint, source, epoch,
            sumIf(r.rows_missing, r.is_declared) AS rows_declared,
            sumIf(r.rows_missing, NOT r.is_declared) AS rows_missing
        FROM conntrail.manifest_rows AS r GROUP BY endpoint, source, epoch
    ),
    present AS
    (
        SELECT endpoint, source, epoch, count() AS received, sum(copies) - count() AS copies
        FROM conntrail.stored GROUP BY endpoint, source, epoch
    ),
    merged AS
    (
        SELECT endpoint, source, epoch, count() AS merged FROM
        (
            SELECT endpoint, source, epoch FROM conntrail.connections FINAL
            UNION ALL
            SELECT endpoint, source, epoch FROM conntrail.notices FINAL
        )
        GROUP BY endpoint, source, epoch
    )
SELECT
    ends.endpoint AS endpoint, ends.source AS source, ends.epoch AS epoch, books.host AS host,
    ends.last_known AS last_known, ends.is_ended AS is_ended,
    covered.accounted AS accounted, books.sent AS sent, present.received AS received,
    books.opens AS left_out_opens, books.filtered AS left_out_by_filter,
    books.dropped AS left_out_by_policy, books.refused AS declared_refused,
    books.missing AS declared_missing,
    covered.explained - covered.accounted AS declared_lost,
    compared.rows_declared AS declared_in_part,
    books.ranges - covered.accounted AS overlap,
    books.batches AS batches, books.batches_repeated AS batches_repeated,
    books.batches_late AS batches_late, books.batches_expired AS batches_expired,
    present.copies AS duplicates_before_merge,
    merged.merged - present.received AS duplicates_after_merge,
    compared.rows_missing AS rows_missing,
    ends.last_known - covered.explained AS sequences_missing,
    sequences_missing + rows_missing AS unexplained,
    books.last_published AS last_published
FROM conntrail.epoch_ends AS ends
LEFT JOIN conntrail.covered AS covered USING (endpoint, source, epoch)
LEFT JOIN books USING (endpoint, source, epoch)
LEFT JOIN compared USING (endpoint, source, epoch)
LEFT JOIN present USING (endpoint, source, epoch)
LEFT JOIN merged USING (endpoint, source, epoch);

-- Who is silent, and why. `broken` is silence that nobody announced.
CREATE OR REPLACE VIEW conntrail.silent ON CLUSTER 'conntrail' AS
SELECT
    endpoint, any(host) AS host, max(last_time) AS last_heard,
    argMaxIf(last_word, last_time, last_word != '') AS last_word,
    multiIf(
        last_heard >= now() - toIntervalSecond((SELECT silent_after_s FROM conntrail.ledger_settings)),
            'reporting',
        last_word = 'sleeping', 'asleep',
        last_word = 'recorder_stopped', 'off',
        'broken') AS state
FROM
(
    SELECT endpoint, any(hostname) AS host, max(time) AS last_time,
        argMax(if(notice = 'recorder_stopped' AND JSONExtractString(details, 'reason') = 'sensor_ended',
            'sensor_ended', notice), (time, sequence)) AS last_word
    FROM conntrail.notices
    WHERE source = ''
        AND notice IN ('sleeping', 'slept', 'recorder_started', 'recorder_stopped')
    GROUP BY endpoint
    UNION ALL
    SELECT endpoint, any(hostname), max(time), '' FROM conntrail.notices GROUP BY endpoint
    UNION ALL
    SELECT endpoint, any(hostname),
        max(start_time + toIntervalMillisecond(ifNull(duration_ms, 0))), ''
    FROM conntrail.connections GROUP BY endpoint
)
GROUP BY endpoint;
