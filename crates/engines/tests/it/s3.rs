use engines::{Seaweed, http};
use std::time::Duration;

#[test]
#[ignore = "needs s3: starts SeaweedFS"]
fn an_object_is_put_once_and_kept_over_a_kill() {
    let store = Seaweed::start();
    store.create_bucket("trail");
    let put = |body: &[u8]| {
        let headers = [("If-None-Match", "*")];
        let answer = store.request("PUT", "/trail/day/1.parquet", "", &headers, body);
        answer.unwrap().status
    };
    assert_eq!(put(b"first"), 200);
    assert_eq!(put(b"second"), 412);
    assert_eq!(store.get("trail", "day/1.parquet").unwrap(), b"first");
    assert_eq!(store.get("trail", "day/2.parquet"), None);
    store.kill();
    assert!(store.request("GET", "/", "", &[], b"").is_err());
    store.restart();
    assert_eq!(store.get("trail", "day/1.parquet").unwrap(), b"first");
    assert_eq!(store.keys("trail", "day/"), ["day/1.parquet"]);
    assert_eq!(put(b"third"), 412);
}

#[test]
#[ignore = "needs s3: starts SeaweedFS"]
fn nobody_is_let_in_without_the_key() {
    let store = Seaweed::start();
    store.create_bucket("trail");
    let request = http::Request {
        method: "PUT",
        target: "/trail/1",
        headers: &[],
        body: b"x",
    };
    assert_eq!(http::send(store.port(), &request).unwrap().status, 403);
    assert_eq!(store.keys("trail", ""), Vec::<String>::new());
}

#[test]
#[ignore = "needs s3: starts SeaweedFS"]
fn a_paused_store_answers_nothing_until_it_is_resumed() {
    let store = Seaweed::start();
    store.pause();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| store.request("GET", "/", "", &[], b"").unwrap());
        std::thread::sleep(Duration::from_millis(500));
        assert!(!answer.is_finished());
        store.resume();
        assert_eq!(answer.join().unwrap().status, 200);
    });
}
