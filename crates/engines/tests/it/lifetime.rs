//! Engines end with the test that started them, whatever ends that.

mod nats {
    use engines::Nats;
    use std::env;
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    /// Says that this process is the one that is to be killed.
    const VICTIM: &str = "CONNTRAIL_TEST_VICTIM";

    fn runs(process: u32) -> bool {
        // One that was killed and not waited for yet runs no more.
        let status = fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat"));
        status.is_ok_and(|it| !it.contains(") Z "))
    }

    #[test]
    #[ignore = "needs nats: starts a nats-server"]
    fn an_engine_ends_with_its_value() {
        let nats = Nats::start();
        let process = nats.process_id().unwrap();
        let folder = nats.folder().to_owned();
        assert!(runs(process) && folder.exists());
        drop(nats);
        assert!(!runs(process) && !folder.exists());
    }

    #[test]
    #[ignore = "needs nats: starts a nats-server"]
    fn an_engine_outlives_the_thread_that_started_it() {
        let nats = thread::spawn(Nats::start).join().unwrap();
        thread::sleep(Duration::from_millis(300));
        assert!(nats.is_running());
        let _ = nats.connect();
    }

    #[test]
    #[ignore = "needs nats: starts a nats-server in a process that is killed"]
    fn an_engine_ends_with_a_test_that_is_killed() {
        if env::var_os(VICTIM).is_some() {
            let nats = Nats::start();
            println!("\nfolder {}", nats.folder().display());
            println!("engine {}", nats.process_id().unwrap());
            thread::sleep(Duration::from_secs(60));
            return;
        }
        let test = "lifetime::nats::an_engine_ends_with_a_test_that_is_killed";
        let mut victim = Command::new(env::current_exe().unwrap());
        victim
            .args([test, "--exact", "--ignored", "--nocapture"])
            .env(VICTIM, "1");
        let mut victim = victim.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        // What was killed removes nothing.
        let folder = lines.find_map(|it| it.unwrap().strip_prefix("folder ").map(str::to_owned));
        let engine = lines.find_map(|line| line.unwrap().strip_prefix("engine ")?.parse().ok());
        let engine: u32 = engine.unwrap();
        assert!(runs(engine));
        victim.kill().unwrap();
        victim.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while runs(engine) {
            assert!(Instant::now() < deadline, "the engine {engine} still runs");
            thread::sleep(Duration::from_millis(20));
        }
        fs::remove_dir_all(folder.unwrap()).unwrap();
    }
}
