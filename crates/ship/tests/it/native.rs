//! The trail's own bytes, and what is done to them on the way.

use crate::batches::{batch, settings, side};
use ship::native::{MESSAGE_BYTES_MAX, NativeError, decode};
use ship::{Compression, Encoder, Format, Framing};
use trail::Source;

fn encoder(compression: Compression) -> Encoder {
    Encoder::new(settings(Format::Native, Framing::Plain, compression)).unwrap()
}

#[test]
fn a_native_batch_comes_back_as_it_was() {
    for compression in [Compression::None, Compression::Zstd] {
        let mut encoder = encoder(compression);
        for (count, source) in [
            (2_000, Source::Recorder),
            (300, side()),
            (0, Source::Recorder),
        ] {
            let batch = batch(1, count, source);
            let parcel = encoder.encode(&batch);
            assert_eq!(decode(&parcel.body).unwrap(), batch);
            assert_eq!(parcel.compression, Compression::None);
            assert_eq!(parcel.records, count);
        }
    }
}

#[test]
fn a_native_batch_that_was_cut_or_changed_is_refused() {
    for compression in [Compression::None, Compression::Zstd] {
        let body = encoder(compression).encode(&batch(2, 12, side())).body;
        for end in 0..body.len() {
            assert!(decode(&body[..end]).is_err(), "cut at {end}");
        }
        let mut longer = body.clone();
        longer.push(0);
        assert!(decode(&longer).is_err());
        for bit in 0..body.len() * 8 {
            let mut flipped = body.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn what_is_no_batch_is_told_from_a_later_one_and_from_a_damaged_one() {
    let body = encoder(Compression::Zstd)
        .encode(&batch(2, 12, side()))
        .body;
    assert_eq!(decode(b"{\"json\": 1}"), Err(NativeError::NotABatch));
    let mut later = body.clone();
    later[4] = 2;
    assert_eq!(decode(&later), Err(NativeError::Version(2)));
    assert!(matches!(decode(&body[..30]), Err(NativeError::Damaged(_))));
}

#[test]
fn a_length_beyond_the_bound_is_refused_before_anything_is_made_for_it() {
    let mut body = encoder(Compression::Zstd)
        .encode(&batch(2, 12, side()))
        .body;
    body[6..10].copy_from_slice(&u32::MAX.to_le_bytes());
    let Err(NativeError::TooLarge { found, most, .. }) = decode(&body) else {
        panic!("it was taken");
    };
    assert_eq!((found, most), (u32::MAX as usize, MESSAGE_BYTES_MAX));
}
