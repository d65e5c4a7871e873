use engines::{ClickHouse, ClickHouseOptions};
use serde_json::json;
use std::time::Duration;

const TABLE: &str = "CREATE TABLE t (id UInt64, name LowCardinality(String), twice UInt64 DEFAULT \
                     id * 2) ENGINE = ReplacingMergeTree ORDER BY id \
                     SETTINGS non_replicated_deduplication_window = 100";
const ROWS: &[u8] = b"{\"id\":1,\"name\":\"a\"}\n{\"id\":2,\"name\":\"b\"}\n";
const INSERT: &str = "INSERT INTO t (id, name) FORMAT JSONEachRow";

fn with_table() -> ClickHouse {
    let store = ClickHouse::start();
    store.run(TABLE);
    store
}

fn count(store: &ClickHouse) -> String {
    store.query("SELECT count() FROM t").trim().to_owned()
}

#[test]
#[ignore = "needs clickhouse: starts the engine"]
fn typed_rows_are_inserted_and_what_is_left_out_gets_its_default() {
    let store = with_table();
    let mut rows = Vec::new();
    for id in 1..=3_u64 {
        rows.extend(id.to_le_bytes());
        rows.extend(b"\x01x");
    }
    let statement = "INSERT INTO t (id, name) FORMAT RowBinary";
    store.insert(statement, &[], &[], &rows).unwrap();
    assert_eq!(
        store.query("SELECT * FROM t ORDER BY id"),
        "1\tx\t2\n2\tx\t4\n3\tx\t6\n"
    );
    let found = store.query_json("SELECT sum(twice) AS sum FROM t");
    assert_eq!(found, [json!({"sum": 12})]);
}

#[test]
#[ignore = "needs clickhouse: starts the engine"]
fn a_block_with_a_token_that_was_seen_is_not_inserted_again() {
    let store = with_table();
    let insert = |token| store.insert(INSERT, &[("insert_deduplication_token", token)], &[], ROWS);
    insert("one").unwrap();
    insert("one").unwrap();
    assert_eq!(count(&store), "2");
    insert("two").unwrap();
    assert_eq!(count(&store), "4");
    assert_eq!(store.query("SELECT count() FROM t FINAL"), "2\n");
}

#[test]
#[ignore = "needs clickhouse: starts the engine"]
fn a_rollup_knows_a_repeated_block_only_by_a_window_of_its_own() {
    let store = with_table();
    for (name, window) in [("with", 100), ("without", 0)] {
        store.run(&format!(
            "CREATE TABLE {name} (name String, rows AggregateFunction(count)) \
             ENGINE = AggregatingMergeTree ORDER BY name \
             SETTINGS non_replicated_deduplication_window = {window}"
        ));
        store.run(&format!(
            "CREATE MATERIALIZED VIEW to_{name} TO {name} AS \
             SELECT name, countState() AS rows FROM t GROUP BY name"
        ));
    }
    for token in ["one", "one", "two", "two"] {
        store
            .insert(INSERT, &[("insert_deduplication_token", token)], &[], ROWS)
            .unwrap();
    }
    let rows = |name| store.query(&format!("SELECT countMerge(rows) FROM {name}"));
    assert_eq!(
        (count(&store), rows("with")),
        ("4".to_owned(), "4\n".to_owned())
    );
    assert_eq!(rows("without"), "8\n");
}

#[test]
#[ignore = "needs clickhouse: starts the engine"]
fn a_token_holds_over_a_kill_and_so_does_what_was_acknowledged() {
    let store = with_table();
    let insert = || store.insert(INSERT, &[("insert_deduplication_token", "one")], &[], ROWS);
    insert().unwrap();
    store.kill();
    assert!(store.try_query("SELECT 1").is_err());
    store.restart();
    assert_eq!(count(&store), "2");
    insert().unwrap();
    assert_eq!(count(&store), "2");
    assert!(store.stop().success());
    store.restart();
    assert_eq!(count(&store), "2");
}

#[test]
#[ignore = "needs clickhouse: starts the engine"]
fn a_lost_answer_leaves_the_rows_inserted() {
    let store = with_table();
    let insert = || store.insert(INSERT, &[("insert_deduplication_token", "one")], &[], ROWS);
    store.lose_answers(1);
    assert_eq!(insert().unwrap_err().status, 0);
    assert_eq!(count(&store), "2");
    insert().unwrap();
    assert_eq!(count(&store), "2");
}

#[test]
#[ignore = "needs clickhouse: starts the engine"]
fn errors_have_the_status_and_the_code_of_the_server() {
    let store = with_table();
    let refused = |statement: &str| {
        let error = store.try_query(statement).unwrap_err();
        (error.status, error.code)
    };
    assert_eq!(refused("SELECT * FROM nowhere"), (404, Some(60)));
    assert_eq!(refused("SELEC 1"), (400, Some(62)));
    assert_eq!(refused("SELECT throwIf(1)"), (500, Some(395)));
    let insert = |statement, settings, data: &[u8]| {
        let error = store.insert(statement, settings, &[], data).unwrap_err();
        (error.status, error.code)
    };
    let nowhere = "INSERT INTO nowhere FORMAT JSONEachRow";
    assert_eq!(insert(nowhere, &[], ROWS), (404, Some(60)));
    assert_eq!(
        insert(INSERT, &[("no_such_setting", "1")], ROWS),
        (404, Some(115))
    );
    assert_eq!(insert(INSERT, &[], b"{\"id\":\"x\"}"), (400, Some(27)));
    store.refuse(252, 1);
    assert_eq!(insert(INSERT, &[], ROWS), (500, Some(252)));
    assert_eq!(count(&store), "0");
}

#[test]
#[ignore = "needs clickhouse: starts the engine"]
fn only_who_knows_the_password_is_let_in() {
    let options = ClickHouseOptions {
        user: "relay",
        password: "secret",
    };
    let store = ClickHouse::start_with(options);
    assert_eq!(store.query("SELECT 1"), "1\n");
    let headers = [
        ("X-ClickHouse-User", "relay"),
        ("X-ClickHouse-Key", "wrong"),
    ];
    let request = engines::http::Request {
        method: "POST",
        target: "/",
        headers: &headers,
        body: b"SELECT 1",
    };
    let answer = engines::http::send(store.port(), &request).unwrap();
    assert_eq!(
        (answer.status, answer.header("x-clickhouse-exception-code")),
        (403, Some("516"))
    );
}

#[test]
#[ignore = "needs clickhouse: starts the engine"]
fn packed_data_is_unpacked() {
    let store = with_table();
    let packed =
        |encoding, data| store.insert(INSERT, &[], &[("Content-Encoding", encoding)], data);
    // The two rows as `gzip -9n` and `zstd -19` pack them.
    packed("gzip", GZIP).unwrap();
    assert_eq!(count(&store), "2");
    store.run("TRUNCATE TABLE t");
    packed("zstd", ZSTD).unwrap();
    assert_eq!(store.query("SELECT sum(id) FROM t"), "3\n");
    assert_eq!(packed("gzip", ROWS).unwrap_err().code, Some(354));
    assert!(packed("zstd", ROWS).is_err());
}

#[test]
#[ignore = "needs clickhouse: starts the engine"]
fn a_setting_holds_for_its_statement_alone() {
    let store = ClickHouse::start();
    let threads = "SELECT getSetting('max_threads')";
    let before = store.query(threads);
    let once = store
        .post("/?max_threads=7", &[], threads.as_bytes())
        .unwrap();
    assert_eq!(once.text(), "7\n");
    assert_eq!(store.query(threads), before);
    store.run("CREATE DATABASE fleet");
    let target = "/?database=fleet&query=SELECT%20currentDatabase()";
    assert_eq!(store.post(target, &[], b"").unwrap().text(), "fleet\n");
    assert_eq!(store.query("SELECT currentDatabase()"), "default\n");
}

#[test]
#[ignore = "needs clickhouse: starts the engine"]
fn a_paused_store_answers_nothing_until_it_is_resumed() {
    let store = with_table();
    store.pause();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| store.query("SELECT 1"));
        std::thread::sleep(Duration::from_millis(500));
        assert!(!answer.is_finished());
        store.resume();
        assert_eq!(answer.join().unwrap(), "1\n");
    });
}

const GZIP: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xab, 0x56, 0xca, 0x4c, 0x51, 0xb2,
    0x32, 0xd4, 0x51, 0xca, 0x4b, 0xcc, 0x4d, 0x55, 0xb2, 0x52, 0x4a, 0x54, 0xaa, 0xe5, 0xaa, 0x06,
    0x8b, 0x19, 0xc1, 0xc5, 0x92, 0x80, 0x62, 0x00, 0x2d, 0xe7, 0xcd, 0x3a, 0x28, 0x00, 0x00, 0x00,
];

const ZSTD: &[u8] = &[
    0x28, 0xb5, 0x2f, 0xfd, 0x24, 0x28, 0x0d, 0x01, 0x00, 0xc8, 0x7b, 0x22, 0x69, 0x64, 0x22, 0x3a,
    0x31, 0x2c, 0x22, 0x6e, 0x61, 0x6d, 0x65, 0x22, 0x3a, 0x22, 0x61, 0x22, 0x7d, 0x0a, 0x32, 0x62,
    0x22, 0x7d, 0x0a, 0x02, 0x00, 0xa0, 0x08, 0x37, 0x4c, 0x26, 0x17, 0x9d, 0x2a, 0xfa,
];
