//! What is told to the flow table: recorded events, and the messages of the kernel program.

use crate::records::encoded;
use flow::stream::{self, Call, StreamError};
use flow::{Config, Event, FlowTable, Output};
use record::sample::Random;
use record::{Mono, Record, Stamp, Wall};
use sensor_linux::translate::{Message, Translator};

/// A stream that can be read is played to its end, twice to the same records.
pub(crate) fn recorded(bytes: &[u8]) {
    let mut rest = bytes;
    let Ok(header) = stream::decode_header(&mut rest) else {
        return;
    };
    calls_come_out_again(rest);
    let play = || {
        let mut calls = rest;
        let mut table = FlowTable::new(header.config, header.epoch, header.start);
        let mut records = Vec::new();
        let played = stream::replay(&mut calls, &mut table, |record| {
            records.push(encoded(record));
            Ok::<(), StreamError>(())
        });
        (records, played.is_ok(), table.counters())
    };
    let (records, is_whole, counters) = play();
    assert_eq!(
        play(),
        (records.clone(), is_whole, counters),
        "the same again"
    );
    // A flow has an open and a close; each event may bring an update, a notice and both of one
    // that gives way, and a timeout a notice of the books.
    assert!(
        records.len() <= 6 * bytes.len() + 16,
        "{} records",
        records.len()
    );
    for record in records {
        record::codec::decode(&record).expect("what is told can be read");
    }
}

fn calls_come_out_again(mut calls: &[u8]) {
    while let Ok(Some(call)) = stream::decode_call(&mut calls) {
        let mut bytes = Vec::new();
        match &call {
            Call::Handle(event, now) => stream::encode_event(event, *now, &mut bytes),
            Call::Timeout(now) => stream::encode_timeout(*now, &mut bytes),
        }
        let again = stream::decode_call(&mut bytes.as_slice());
        assert_eq!(again.ok(), Some(Some(call)));
    }
}

/// What the translator makes of messages of the kernel, as the recorder writes it down.
pub(crate) fn recorded_seeds() -> Vec<Vec<u8>> {
    let seeds = ring_seeds();
    let streams = seeds.iter().map(|ring| {
        let mut out = Vec::new();
        stream::encode_header(&header(), &mut out);
        for (index, message) in messages(ring).into_iter().enumerate() {
            let now = Mono(1_000_000_000 * (index as u64 + 6));
            if let Some(event) = event(message) {
                stream::encode_event(&event, now, &mut out);
                stream::encode_timeout(now, &mut out);
            }
        }
        out
    });
    streams.collect()
}

fn header() -> stream::Header {
    stream::Header {
        config: Config::default(),
        epoch: 3,
        start: start(),
        device: record::sample::device(),
    }
}

fn start() -> Stamp {
    Stamp {
        wall: Wall(1_700_000_000_000_000_000),
        mono: Mono(5_000_000_000),
    }
}

/// Whatever the kernel's bytes are, they become events, and those become records.
pub(crate) fn ring(bytes: &[u8]) {
    let mut table = FlowTable::new(Config::default(), 1, start());
    for (index, message) in messages(bytes).into_iter().enumerate() {
        let now = Mono(start().mono.0 + 100_000_000 * index as u64);
        if let Some(event) = event(message) {
            let mut entry = Vec::new();
            stream::encode_event(&event, now, &mut entry);
            let again = stream::decode_call(&mut entry.as_slice());
            assert_eq!(again.ok(), Some(Some(Call::Handle(event.clone(), now))));
            table.handle(event, now);
        }
        table.handle_timeout(now);
        drain(&mut table);
    }
    table.handle_stop();
    drain(&mut table);
}

fn drain(table: &mut FlowTable) {
    while let Some(output) = table.poll_output() {
        if let Output::Record(record) = output {
            comes_out_again(&record);
        }
    }
}

fn comes_out_again(record: &Record) {
    let again = record::codec::decode(&encoded(record)).expect("what is told can be read");
    assert_eq!(again, *record);
}

/// Each message has its length in front, in two bytes.
fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let translator = Translator {
        boot_id: Some([0x42; 16]),
        settled: Mono(6_000_000_000),
        listening: [(1, 443)].into(),
    };
    let mut messages = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (message, rest) = rest.split_at(length);
        messages.push(translator.message(message));
        bytes = rest;
    }
    messages
}

/// As the sensor hands it on, where it needs no table of the kernel's for that.
fn event(message: Message) -> Option<Event> {
    match message {
        Message::Event(event) => Some(event),
        Message::PeerOpened(opened, _) => Some(Event::Opened(opened)),
        Message::Attributed { socket, owner, .. } => {
            let key = flow::FlowKey { socket, part: 0 };
            Some(Event::Attributed { key, owner })
        }
        Message::Released { .. } | Message::Alive { .. } | Message::Listening { .. } => None,
    }
}

/// Messages of all kinds, of their right sizes, about a few sockets.
pub(crate) fn ring_seeds() -> Vec<Vec<u8>> {
    (1..=12).map(ring_seed).collect()
}

fn ring_seed(seed: u64) -> Vec<u8> {
    // Kind and size of each message, as in `bpf/events.h`.
    const SIZES: [(u8, usize); 8] = [
        (1, 160),
        (2, 104),
        (3, 144),
        (4, 48),
        (5, 24),
        (6, 1024),
        (7, 104),
        (8, 64),
    ];
    let mut random = Random::new(seed);
    let mut out = Vec::new();
    for _ in 0..8 {
        let (kind, size) = random.pick(&SIZES);
        let mut message = vec![0; size];
        message[0] = kind;
        message[1] = random.pick(&[6, 17]);
        message[2] = random.below(3) as u8;
        message[3] = random.below(8) as u8;
        let cookie = if kind == 8 { 8 } else { 16 };
        message[8..16].copy_from_slice(&(random.below(9) * 1_000_000_000).to_le_bytes());
        message[cookie..cookie + 8].copy_from_slice(&random.below(3).to_le_bytes());
        out.extend((size as u16).to_le_bytes());
        out.extend(message);
    }
    out
}
