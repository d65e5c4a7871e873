use super::standard_output::StandardOutput;
use super::*;
use crate::sinks::Sink;
use record::EndpointId;
use ship::BatchId;
use std::collections::BTreeMap;
use std::fs;
use std::io::{PipeReader, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use tempfile::TempDir;

const DESTINATION: &str = "lake";

fn parcel(number: u64, body: &str) -> Parcel {
    Parcel {
        id: BatchId {
            endpoint: EndpointId([7; 16]),
            source: trail::Source::Recorder,
            epoch: 3,
            first: number * 10,
            last: number * 10 + 9,
            view: 0xfeed,
        },
        format: Format::Flat,
        compression: Compression::None,
        records: 1,
        ends: Vec::new(),
        too_long: Vec::new(),
        body: body.as_bytes().to_vec(),
    }
}

fn settings(folder: &TempDir) -> config::File {
    config::File {
        folder: Some(folder.path().to_owned()),
        ..config::File::default()
    }
}

fn folder_of(config: &config::File) -> Folder {
    let path = config.folder.as_ref().unwrap();
    let extension = folder::extension(Format::Flat, Compression::None);
    Folder::new(DESTINATION, path, config, extension, false)
}

/// What is in the folder, without the lock.
fn contents(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let text = |path: &PathBuf| String::from_utf8(fs::read(path).unwrap()).unwrap();
    entries
        .filter(|path| path.extension().unwrap() != "lock")
        .map(|path| {
            (
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                text(&path),
            )
        })
        .collect()
}

/// All lines, in the order of the files.
fn lines(folder: &Path) -> String {
    let files = contents(folder).into_iter();
    files
        .filter(|(name, _)| name.contains(".ndjson"))
        .map(|(_, text)| text)
        .collect()
}

#[test]
fn parcels_follow_each_other_in_a_file_that_is_renamed_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let config = config::File {
        file_bytes_max: Some(10),
        ..settings(&folder)
    };
    let mut files = folder_of(&config);
    for (number, body) in ["one\n", "two\n", "three\n"].into_iter().enumerate() {
        files
            .write(&parcel(number as u64, body), 1_790_000_000)
            .unwrap();
    }
    let ids = "07070707-0707-0707-0707-070707070707-3";
    let there = contents(folder.path());
    let ended = format!("lake-20260921T141320Z-{ids}-0-9-0000feed.ndjson");
    let part = format!("lake-20260921T141321Z-{ids}-20-29-0000feed.ndjson.part");
    assert_eq!(there[&ended], "one\ntwo\n");
    assert_eq!(there[&part], "three\n");
    assert_eq!(there.len(), 3);
}

#[test]
fn a_file_ends_by_its_age_also_when_nothing_comes() {
    let folder = tempfile::tempdir().unwrap();
    let config = config::File {
        file_age_max_s: Some(60),
        ..settings(&folder)
    };
    let mut files = folder_of(&config);
    let parts = || {
        contents(folder.path())
            .into_keys()
            .filter(|name| name.ends_with(".part"))
            .count()
    };
    files.write(&parcel(0, "one\n"), 1_000).unwrap();
    files.end_if_old(1_059);
    assert_eq!(parts(), 1);
    files.end_if_old(500);
    assert_eq!(parts(), 1, "a clock that was set back ended it");
    files.end_if_old(1_060);
    assert_eq!(parts(), 0);
    files.write(&parcel(1, "two\n"), 900).unwrap();
    assert_eq!(lines(folder.path()), "one\ntwo\n", "names are not in order");
}

#[test]
fn the_oldest_files_are_deleted_beyond_the_bound_and_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = config::File {
        file_bytes_max: Some(4),
        total_bytes_max: Some(10),
        ..settings(&folder)
    };
    let mut files = folder_of(&config);
    fs::write(folder.path().join("somebody-elses.ndjson"), "theirs\n").unwrap();
    for number in 0..5 {
        files
            .write(&parcel(number, &format!("{number}..\n")), 1_000)
            .unwrap();
    }
    assert_eq!(lines(folder.path()), "3..\n4..\ntheirs\n");
    assert_eq!(
        files.deleted(),
        Deleted {
            files: 3,
            bytes: 12
        }
    );
    drop(files);
    let mut files = folder_of(&config);
    files.write(&parcel(9, "9..\n"), 1_000).unwrap();
    assert_eq!(lines(folder.path()), "4..\n9..\ntheirs\n");
}

#[test]
fn a_parcel_that_comes_again_is_not_written_again_not_even_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let config = config::File {
        file_bytes_max: Some(8),
        ..settings(&folder)
    };
    for _ in 0..3 {
        let mut files = folder_of(&config);
        for number in 0..4 {
            files
                .write(&parcel(number, &format!("{number}..\n")), 1_000)
                .unwrap();
        }
    }
    assert_eq!(lines(folder.path()), "0..\n1..\n2..\n3..\n");
}

/// After a crash each of the two files has any length that was not yet flushed: the marks follow
/// the bytes.
#[test]
fn wherever_a_crash_falls_every_parcel_is_there_once_and_whole() {
    let bodies = ["first\n", "second\nand more\n", "third\n"];
    let origin = tempfile::tempdir().unwrap();
    let mut files = folder_of(&settings(&origin));
    for (number, body) in bodies.iter().enumerate() {
        files.write(&parcel(number as u64, body), 1_000).unwrap();
    }
    drop(files);
    let there = contents(origin.path());
    let (part, text) = there
        .iter()
        .find(|(name, _)| name.ends_with(".part"))
        .unwrap();
    let marks = &there["lake.marks"];
    let head = marks.find('\n').unwrap() + 1;
    let ends = marks
        .match_indices('\n')
        .map(|(at, _)| at + 1)
        .collect::<Vec<_>>();
    // Each line of the marks whole, without its end, and without the end of the id.
    for marks_bytes in ends.into_iter().flat_map(|end| [end, end - 1, end - 2]) {
        if marks_bytes < head {
            continue;
        }
        let marked = marks[head..marks_bytes].matches('\n').count();
        let lengths = bodies.map(str::len);
        let flushed = lengths[..marked].iter().sum::<usize>();
        let next = lengths.get(marked).copied().unwrap_or(0);
        for bytes in [flushed, flushed + 1, flushed + next, text.len()] {
            let bytes = bytes.min(text.len());
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(part), &text[..bytes]).unwrap();
            fs::write(folder.path().join("lake.marks"), &marks[..marks_bytes]).unwrap();
            let mut files = folder_of(&settings(&folder));
            for (number, body) in bodies.iter().enumerate() {
                files.write(&parcel(number as u64, body), 1_000).unwrap();
            }
            assert_eq!(
                lines(folder.path()),
                bodies.concat(),
                "{marks_bytes} {bytes}"
            );
            assert_eq!(&contents(folder.path())["lake.marks"], marks);
        }
    }
}

#[test]
fn a_file_under_way_without_marks_is_ended_behind_its_last_whole_line() {
    let folder = tempfile::tempdir().unwrap();
    let stray = "lake-20260921T141320Z-x.ndjson";
    fs::write(folder.path().join(format!("{stray}.part")), "whole\nto").unwrap();
    let mut files = folder_of(&settings(&folder));
    files.write(&parcel(0, "next\n"), 1_000).unwrap();
    let there = contents(folder.path());
    assert_eq!(there[stray], "whole\n");
    assert_eq!(lines(folder.path()), "whole\nnext\n");
}

#[tokio::test]
async fn a_second_writer_of_the_same_files_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let sink = || {
        FileSink::new(
            DESTINATION,
            &settings(&folder),
            Format::Flat,
            Compression::None,
        )
        .unwrap()
    };
    let (first, second) = (sink(), sink());
    assert_eq!(first.deliver(&parcel(0, "one\n")).await, Answer::Accepted);
    let Answer::Misconfigured { reason } = second.deliver(&parcel(1, "two\n")).await else {
        panic!("two write to one file");
    };
    assert!(reason.contains("another program writes"), "{reason}");
    drop(first);
    assert_eq!(second.deliver(&parcel(1, "two\n")).await, Answer::Accepted);
    assert_eq!(lines(folder.path()), "one\ntwo\n");
}

#[tokio::test]
async fn a_folder_that_cannot_be_is_a_wrong_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let config = config::File {
        folder: Some(file.join("below")),
        ..config::File::default()
    };
    let sink = FileSink::new(DESTINATION, &config, Format::Flat, Compression::None).unwrap();
    let answer = sink.deliver(&parcel(0, "one\n")).await;
    assert!(
        matches!(&answer, Answer::Misconfigured { reason } if reason.contains("another folder")),
        "{answer:?}"
    );
}

#[tokio::test]
async fn compressed_parcels_are_read_as_one_stream() {
    let folder = tempfile::tempdir().unwrap();
    let config = settings(&folder);
    let sink = FileSink::new(DESTINATION, &config, Format::Ocsf, Compression::Gzip).unwrap();
    for (number, text) in ["one\n", "two\n"].into_iter().enumerate() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, text.as_bytes()).unwrap();
        let parcel = Parcel {
            body: gzip.finish().unwrap(),
            ..parcel(number as u64, "")
        };
        assert_eq!(sink.deliver(&parcel).await, Answer::Accepted);
    }
    let mut files = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let part = files
        .find(|path| path.to_str().unwrap().ends_with(".ndjson.gz.part"))
        .unwrap();
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(File::open(part).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "one\ntwo\n");
}

#[tokio::test]
async fn a_parquet_parcel_is_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = settings(&folder);
    let sink = FileSink::new(DESTINATION, &config, Format::Parquet, Compression::None).unwrap();
    for number in 0..3 {
        sink.deliver(&parcel(number, "PAR1")).await;
    }
    let there = contents(folder.path());
    let files = there.keys().filter(|name| name.ends_with(".parquet"));
    assert_eq!(files.count(), 3);
    assert!(there.values().filter(|text| *text == "PAR1").count() == 3);
}

fn piped() -> (PipeReader, StandardOutput) {
    let (reader, writer) = io::pipe().unwrap();
    (reader, StandardOutput::new(OwnedFd::from(writer)))
}

#[test]
fn standard_output_gets_the_bytes_and_nothing_else() {
    let (mut reader, mut output) = piped();
    assert_eq!(output.write(&parcel(0, "one\n")), Answer::Accepted);
    drop(output);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "one\n");
}

#[test]
fn what_was_written_when_the_reader_went_away_is_unknown_and_nothing_follows_it() {
    let (reader, mut output) = piped();
    drop(reader);
    let answer = output.write(&parcel(0, "one\n"));
    assert!(matches!(answer, Answer::Unknown { .. }), "{answer:?}");
    let answer = output.write(&parcel(1, "two\n"));
    assert!(matches!(answer, Answer::Misconfigured { .. }), "{answer:?}");
}

mod mount {
    use super::*;
    use std::io::BufRead;
    use std::process::{Child, Command, Stdio};

    /// A small disk in memory, in a mount namespace of its own, which `cat` keeps.
    struct SmallDisk {
        keeper: Child,
        path: PathBuf,
    }

    impl SmallDisk {
        fn new(folder: &TempDir) -> SmallDisk {
            let script = "mount -t tmpfs -o size=64k tmpfs \"$0\" && echo ready && exec cat";
            let mut keeper = Command::new("unshare")
                .args(["--mount", "sh", "-ec", script])
                .arg(folder.path())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            io::BufReader::new(keeper.stdout.as_mut().unwrap())
                .read_line(&mut line)
                .unwrap();
            assert_eq!(line, "ready\n");
            let root = PathBuf::from(format!("/proc/{}/root", keeper.id()));
            let path = root.join(folder.path().strip_prefix("/").unwrap());
            SmallDisk { keeper, path }
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = self.keeper.kill();
            let _ = self.keeper.wait();
        }
    }

    #[tokio::test]
    #[ignore = "needs mount: root and mount namespaces"]
    async fn a_full_disk_is_waited_for_and_nothing_torn_stays() {
        let place = tempfile::tempdir().unwrap();
        let disk = SmallDisk::new(&place);
        let config = config::File {
            folder: Some(disk.path.clone()),
            ..config::File::default()
        };
        let sink = FileSink::new(DESTINATION, &config, Format::Flat, Compression::None).unwrap();
        let body = format!("{}\n", "x".repeat(19_999));
        let mut accepted = 0;
        let mut answer = Answer::Accepted;
        while answer == Answer::Accepted {
            answer = sink.deliver(&parcel(accepted, &body)).await;
            accepted += u64::from(answer == Answer::Accepted);
        }
        assert!(accepted > 0);
        let Answer::Again { after, reason } = answer else {
            panic!("{answer:?}");
        };
        assert!(reason.contains("make room") && after.is_some(), "{reason}");
        let size = || lines(&disk.path).len();
        assert_eq!(size(), accepted as usize * body.len());
        let entered = Command::new("nsenter")
            .args([
                "--mount",
                "--target",
                &disk.keeper.id().to_string(),
                "mount",
            ])
            .args(["-o", "remount,size=1m"])
            .arg(place.path())
            .status()
            .unwrap();
        assert!(entered.success());
        assert_eq!(
            sink.deliver(&parcel(accepted, &body)).await,
            Answer::Accepted
        );
        assert_eq!(size(), (accepted as usize + 1) * body.len());
    }
}
