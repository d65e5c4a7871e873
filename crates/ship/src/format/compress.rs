//! Making bytes smaller, with memory that is used again.

use super::{Compression, EncoderError};
use flate2::{Compress, Crc, FlushCompress};

/// Levels as measured: what a higher one saves is not worth what it costs, and at a lower one
/// deflate does not make codes of its own.
const GZIP_LEVEL: i32 = 2;
const ZSTD_LEVEL: i32 = 1;

/// Makes bytes smaller in one way; the same bytes always become the same.
pub(super) enum Compressor {
    None,
    Gzip(Box<Compress>),
    Zstd(Box<Zstd>),
}

/// Zstd, and room for what it makes.
pub(super) struct Zstd {
    compressor: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

impl Compressor {
    pub(super) fn new(
        compression: Compression,
        level: Option<i32>,
    ) -> Result<Compressor, EncoderError> {
        Ok(match compression {
            Compression::None => Compressor::None,
            Compression::Gzip => {
                let level = in_range(level.unwrap_or(GZIP_LEVEL), 1, 9)? as u32;
                let level = flate2::Compression::new(level);
                Compressor::Gzip(Box::new(Compress::new(level, false)))
            }
            Compression::Zstd => {
                let range = zstd::compression_level_range();
                let level = level.unwrap_or(ZSTD_LEVEL);
                let level = in_range(level, *range.start(), *range.end())?;
                let compressor = zstd::bulk::Compressor::new(level);
                Compressor::Zstd(Box::new(Zstd {
                    compressor: compressor.expect("memory for the compressor"),
                    out: Vec::new(),
                }))
            }
        })
    }

    /// `bytes`, smaller.
    pub(super) fn compress(&mut self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Compressor::None => bytes.to_vec(),
            Compressor::Gzip(compress) => gzip(compress, bytes),
            Compressor::Zstd(zstd) => zstd.compress(bytes),
        }
    }
}

impl Zstd {
    fn compress(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.out.clear();
        self.out
            .reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        self.compressor
            .compress_to_buffer(bytes, &mut self.out)
            .expect("there is room for what zstd makes at most");
        self.out.clone()
    }
}

fn in_range(level: i32, least: i32, most: i32) -> Result<i32, EncoderError> {
    match (least..=most).contains(&level) {
        true => Ok(level),
        false => Err(EncoderError::Level { level, least, most }),
    }
}

/// A member of RFC 1952 without a name and a time: magic, method, no flags, no time, no extra
/// flags, an unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

fn gzip(compress: &mut Compress, bytes: &[u8]) -> Vec<u8> {
    compress.reset();
    let mut out = Vec::with_capacity(bytes.len() / 8 + 256);
    out.extend_from_slice(&GZIP_HEADER);
    loop {
        let read = compress.total_in() as usize;
        let status = compress
            .compress_vec(&bytes[read..], &mut out, FlushCompress::Finish)
            .expect("deflate takes any bytes");
        if status == flate2::Status::StreamEnd {
            break;
        }
        out.reserve(bytes.len() / 8 + 256);
    }
    let mut sum = Crc::new();
    sum.update(bytes);
    out.extend_from_slice(&sum.sum().to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_was_made_smaller_comes_back() {
        let text: Vec<u8> = (0..200_000_u32)
            .flat_map(|it| (it / 7).to_le_bytes())
            .collect();
        for bytes in [&[][..], &[0], &text] {
            let mut gzip = Compressor::new(Compression::Gzip, None).unwrap();
            let mut zstd = Compressor::new(Compression::Zstd, None).unwrap();
            for _ in 0..2 {
                let mut back = Vec::new();
                let small = gzip.compress(bytes);
                let mut decoder = flate2::read::GzDecoder::new(&small[..]);
                decoder.read_to_end(&mut back).unwrap();
                assert!(back == bytes);
                let small = zstd.compress(bytes);
                assert!(zstd::bulk::decompress(&small, text.len()).unwrap() == bytes);
            }
        }
    }

    #[test]
    fn a_level_that_there_is_not_is_refused() {
        assert!(Compressor::new(Compression::Gzip, Some(0)).is_err());
        assert!(Compressor::new(Compression::Gzip, Some(10)).is_err());
        assert!(Compressor::new(Compression::Zstd, Some(99)).is_err());
    }
}
