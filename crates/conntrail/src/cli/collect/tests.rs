use super::*;
use ::trail::{TrailWriter, WriterOptions};
use flate2::read::GzDecoder;
use record::{Connection, Notice, NoticeKind, Origin, Phase, Record, Stamp, sample};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

const SECRET: &str = "hush-6b1f";

struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// A recorder's folder with a notice and a connection in it, and a file of settings.
    fn new() -> World {
        let world = World {
            folder: tempfile::tempdir().unwrap(),
        };
        let now = host::clock::stamp();
        let options = WriterOptions::new(sample::device(), 1 << 30);
        let mut writer = TrailWriter::open(&world.state(), options, now).unwrap();
        let previous = writer.previous();
        let kind = NoticeKind::RecorderStarted { previous };
        let started = Record::Notice(Notice { at: now, kind });
        for record in [started, connection(now)] {
            writer.append(&record, now.mono).unwrap();
        }
        drop(writer.close(now).unwrap());
        let settings = format!(
            "[flow]\nflows_max = 5000\ntoken = \"{SECRET}\"\n\
             [filter]\nupgrade_when = \"{SECRET}\"\n"
        );
        fs::write(world.file("c.toml"), settings).unwrap();
        world
    }

    fn state(&self) -> PathBuf {
        self.file("state")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn order(&self, with_records: Option<Duration>) -> Order {
        Order {
            state_dir: self.state(),
            config_file: Some(self.file("c.toml")),
            now: Timestamp::now(),
            host: "box/../7 ä.example".to_owned(),
            since: Duration::from_secs(86_400),
            with_records,
        }
    }
}

fn connection(now: Stamp) -> Record {
    let Record::Connection(connection) = sample::closes(1, 1).remove(0) else {
        unreachable!("closes are connections")
    };
    Record::Connection(Connection {
        at: now,
        opened: Some(now.mono),
        phase: Phase::Open,
        origin: Origin::Live,
        ..connection
    })
}

/// Every file of an archive, by name, in order.
fn members(path: &Path) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let entries = archive.entries().unwrap();
    let read = |entry: io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let (_, name) = path.split_once('/').unwrap();
        (name.to_owned(), text)
    };
    entries.map(read).collect()
}

/// A system whose every tool says something secret.
fn talkative(program: &str, arguments: &[String]) -> Result<String, String> {
    Ok(format!("{program} {arguments:?}\npassword={SECRET}\n"))
}

fn whole(world: &World, with_records: Option<Duration>) -> (String, Vec<(String, String)>) {
    let order = world.order(with_records);
    let mut wanted = own_parts(&order);
    wanted.extend(platform::wanted(&order));
    let output = world.file("out.tar.gz");
    let said = collect(&order, wanted, &talkative, &output).unwrap();
    (said, members(&output))
}

/// What tells that a connection is in a text.
fn addresses() -> Vec<String> {
    let Record::Connection(connection) = connection(Stamp::default()) else {
        unreachable!("it is one")
    };
    let remote = connection.remote.address.unwrap().to_string();
    let process = connection.process.unwrap();
    vec![remote, process.name.clone().unwrap().to_string()]
}

#[test]
fn the_manifest_comes_first_and_names_every_file() {
    let world = World::new();
    let (said, members) = whole(&world, None);
    let (first, manifest) = &members[0];
    assert_eq!(first, "MANIFEST.txt");
    let listed = manifest.split("In this archive\n").nth(1).unwrap();
    let listed = listed.split("\n\n").next().unwrap();
    let listed: Vec<&str> = listed
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    let names: Vec<&str> = members[1..].iter().map(|(name, _)| &**name).collect();
    assert_eq!(listed, names);
    for expected in [
        "versions.txt",
        "config.txt",
        "trail/verify.txt",
        "trail/segments.txt",
        "trail/notices.txt",
        "trail/receipts.txt",
    ] {
        assert!(names.contains(&expected), "no {expected} in {names:?}");
    }
    assert!(said.contains(manifest.as_str()), "{said}");
    assert!(
        said.contains("Look through it before you send it."),
        "{said}"
    );
}

#[test]
fn what_was_recorded_is_only_in_it_when_asked_for() {
    let world = World::new();
    let (_, members) = whole(&world, None);
    for (name, text) in &members {
        for address in addresses() {
            assert!(!text.contains(&address), "{address} in {name}");
        }
    }
    let text = |wanted: &str, members: &[(String, String)]| {
        let found = members.iter().find(|(name, _)| name == wanted);
        found.map(|(_, text)| text.clone()).unwrap_or_default()
    };
    let notices = text("trail/notices.txt", &members);
    assert!(notices.contains("the recorder started"), "{notices}");
    assert!(text("trail/verify.txt", &members).contains("2 records in 1 segments"));
    assert!(text("trail/segments.txt", &members).contains(" bytes\n"));
    fs::remove_file(world.file("out.tar.gz")).unwrap();

    let (said, members) = whole(&world, Some(Duration::from_secs(900)));
    let records = text("trail/RECORDS.ndjson", &members);
    assert!(records.contains(&addresses()[0]), "{records}");
    assert!(said.contains("WHO CONNECTED WHERE"), "{said}");
}

#[test]
fn a_planted_secret_is_nowhere() {
    let world = World::new();
    let mut order = world.order(None);
    order.with_records = Some(Duration::from_secs(900));
    let mut wanted = own_parts(&order);
    wanted.extend(platform::wanted(&order));
    let log = world.file("log.txt");
    fs::write(&log, format!("a\napi_key: {SECRET}\nat /home/ana/x\n")).unwrap();
    wanted.push(Wanted {
        name: "log.txt".to_owned(),
        why: "a log",
        source: Source::File(log),
    });
    wanted.push(own("fails.txt", "it fails", || {
        bail!("the secret: {SECRET} was refused")
    }));
    let output = world.file("out.tar.gz");
    let said = collect(&order, wanted, &talkative, &output).unwrap();
    assert!(!said.contains(SECRET), "{said}");
    let members = members(&output);
    for (name, text) in &members {
        assert!(!text.contains(SECRET), "{name}: {text}");
        // Whoever asks for records gets the users in them.
        let is_clean = name.ends_with("RECORDS.ndjson") || !text.contains("ana");
        assert!(is_clean, "{name}: {text}");
    }
    let config = &members.iter().find(|it| it.0 == "config.txt").unwrap().1;
    assert!(config.contains("flows_max = 5000"), "{config}");
    assert!(
        config.contains("no setting flow.token"),
        "the key is named: {config}"
    );
}

#[test]
fn what_cannot_be_had_is_a_line_and_not_the_end() {
    let world = World::new();
    let mut order = world.order(None);
    order.state_dir = world.file("nowhere");
    let mut wanted = own_parts(&order);
    wanted.push(Wanted {
        name: "hangs.txt".to_owned(),
        why: "it hangs",
        source: Source::Tool("/bin/sh", words(&["-c", "exec sleep 600"]), everything()),
    });
    let run = |program: &str, arguments: &[String]| {
        tool::output(program, arguments, 1_000, Duration::from_millis(100))
    };
    let begun = std::time::Instant::now();
    let output = world.file("out.tar.gz");
    let said = collect(&order, wanted, &run, &output).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(300));
    let (_, failed) = said.split_once("Not to be had\n").unwrap();
    for expected in ["hangs.txt", "did not end within", "nothing was recorded in"] {
        assert!(failed.contains(expected), "no {expected} in {failed}");
    }
    assert_eq!(members(&output).len(), 4, "versions, settings, receipts");
}

#[test]
fn only_the_owner_can_read_it_and_nothing_is_overwritten() {
    let world = World::new();
    let output = world.file("out.tar.gz");
    collect(&world.order(None), Vec::new(), &talkative, &output).unwrap();
    let mode = fs::metadata(&output).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = fs::read(&output).unwrap();
    let again = collect(&world.order(None), Vec::new(), &talkative, &output);
    let error = format!("{:#}", again.unwrap_err());
    assert!(
        error.contains("is not overwritten: name another"),
        "{error}"
    );
    assert_eq!(fs::read(&output).unwrap(), before);
}

#[test]
fn a_place_where_nothing_can_be_written_is_told_before_anything_is_gathered() {
    let world = World::new();
    let wanted = vec![own("x", "", || panic!("it was gathered"))];
    let output = world.file("no/such/folder/out.tar.gz");
    let error = collect(&world.order(None), wanted, &talkative, &output).unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("name another place with --output"),
        "{error}"
    );
}

#[test]
fn the_name_is_fit_for_a_file() {
    let world = World::new();
    let mut order = world.order(None);
    order.now = "2026-11-23T12:34:56.7Z".parse().unwrap();
    assert_eq!(
        order.title(),
        "conntrail-collect-box..7.example-20261123T123456Z"
    );
    assert!(order.begin(Duration::MAX) <= record::Wall(0));
}

#[test]
fn of_a_long_file_the_end_is_kept() {
    let world = World::new();
    let path = world.file("long");
    let line = "0123456789abcde\n";
    let lines = usize::try_from(TEXT_MAX_BYTES).unwrap() / line.len() + 2;
    fs::write(&path, line.repeat(lines) + "last\n").unwrap();
    let text = end_of(&path).unwrap();
    assert!(
        text.starts_with("(37 bytes before this are left out)\n0123"),
        "{}",
        &text[..60]
    );
    assert!(text.ends_with("last\n"));
}

#[test]
fn of_a_folder_only_the_newest_files_of_ours_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..12 {
        let path = folder.path().join(format!("conntraild-{number:02}.ips"));
        fs::write(&path, "x").unwrap();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + number);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(changed)
            .unwrap();
    }
    fs::write(folder.path().join("other-1.ips"), "x").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("conntraild-zz")).unwrap();
    let found = macos::newest(folder.path().to_str().unwrap(), &["conntraild-"], "");
    let names: Vec<&str> = found.iter().map(|it| &*it.name).collect();
    assert_eq!(names.len(), 10);
    assert!(
        names[0].ends_with("conntraild-11.ips") && names[9].ends_with("-02.ips"),
        "{names:?}"
    );
    assert!(macos::newest("/nowhere", &[""], "").is_empty());
}

#[test]
fn a_macs_tools_are_asked_and_of_profiles_only_ours_are_kept() {
    let world = World::new();
    let mut order = world.order(None);
    order.since = Duration::from_secs(90);
    let mut wanted = macos::wanted(&order);
    // The status asks the system itself; it has tests of its own.
    wanted.retain(|it| it.name != "status.json");
    let run = |program: &str, arguments: &[String]| match program {
        "/usr/bin/profiles" => Ok(format!(
            "<plist version=\"1.0\"><dict><key>a</key><array>\
             <dict><key>PayloadType</key><string>com.apple.wifi.managed</string>\
             <key>Name</key><string>{SECRET}</string></dict>\
             <dict><key>PayloadType</key><string>com.conntrail.agent</string>\
             <key>PayloadContent</key><dict><key>filter.loopback</key><true/>\
             <key>other</key><string>{SECRET}</string></dict></dict>\
             </array></dict></plist>"
        )),
        "/usr/sbin/sysctl" => Err("/usr/sbin/sysctl could not be run".to_owned()),
        _ => talkative(program, arguments),
    };
    let output = world.file("out.tar.gz");
    let said = collect(&order, wanted, &run, &output).unwrap();
    assert!(said.contains("/usr/sbin/sysctl could not be run"), "{said}");
    let members = members(&output);
    let text = |wanted: &str| &members.iter().find(|it| it.0 == wanted).unwrap().1;
    assert_eq!(
        text("system/profiles.txt"),
        "payload com.conntrail.agent\n  filter.loopback = true\n  \
         other = (not a setting, not shown)\n1 payloads of other types are not shown\n"
    );
    let log = text("service/log.txt");
    assert!(
        log.contains("\"--last\", \"2m\"") && log.contains("conntraild"),
        "{log}"
    );
    let managers = text("system/managers.txt");
    assert!(
        managers.contains("sysextd") && managers.contains("com.conntrail.agent.filter"),
        "{managers}"
    );
    assert!(text("service/upgrade.txt").contains("system/com.conntrail.agent.upgrade"));
    assert!(text("system/install.txt").contains("/var/log/install.log"));
    assert!(text("system/extensions.txt").starts_with("/usr/bin/systemextensionsctl [\"list\"]"));
    assert!(members.iter().all(|(_, text)| !text.contains(SECRET)));
}
