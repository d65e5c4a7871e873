//! Signs with a key that is known to everybody, to see what the reader makes of it.

use super::maker::{sha256, tagged};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use num_bigint::BigUint;
use std::io::Write as _;

/// What goes into a signed message beside the code directories.
#[derive(Clone)]
pub(super) struct Signer {
    /// Two digits of the year, and of month, day, hour, minute, second.
    pub(super) time: &'static str,
    pub(super) certificates: Vec<&'static str>,
    pub(super) has_timestamp: bool,
}

const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
const SIGNING_TIME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 5];
const TIMESTAMP: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 2, 14];
const CDHASHES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x63, 0x64, 9, 1];
const DIGESTS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x63, 0x64, 9, 2];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];

const MODULUS: &str = "
    d1e542f390b8419f3fc41c5a95ca8868b7f0c9d0f8ea7fa3599a1e30bb2232b20b4aee105b60dec101b98bdc
    2f7290a2d7b0fc86e6a66ca950c2a7e118c28a9d70649078c3c741dd6c65e0aa882433a8e131bf5e7e867e10
    03f72254aebf9ac272ad7231842c04ff84bfdfde9f673ea32f65698aee639e3e665351562b9e115b";
const SECRET: &str = "
    5d53a7154d7fe00dc2f89bf2db2f96bf992a03525b9b48ed84e5b60ecce643cc4ea11e813f602f2b7a6cd9f7
    2951b365f4a9c95ee22795a1233baa11b844a804d2c47e95bcbe553af4dd7abd922e8731b4a9e85953f50849
    971c60ca6ecfbb30f41af65e7de7ded5686fb5e76b702e926e230266a08d5b88d5c8ca967a1cf501";
const SERIAL: &[u8] = &[
    0x48, 0xb3, 0xfc, 0x5f, 0x5f, 0x87, 0x2f, 0x48, 0x3e, 0x25, 0x1f, 0x15, 0x17, 0x3b, 0x05, 0x60,
    0xe6, 0xce, 0x09, 0x40,
];

/// "Test Signer", of the team AB12CD34EF, from November 2026 on.
pub(super) const LEAF: &str = "
    MIICgTCCAeqgAwIBAgIUSLP8X1+HL0g+JR8VFzsFYObOCUAwDQYJKoZIhvcNAQELBQAwODEXMBUGA1UEAwwOVGVz
    dCBBdXRob3JpdHkxEDAOBgNVBAoMB0V4YW1wbGUxCzAJBgNVBAYTAlhYMCAXDTI2MTEyMzEyNTYxNloYDzIxMDAw
    NzE4MTI1NjE2WjBKMRQwEgYDVQQDDAtUZXN0IFNpZ25lcjETMBEGA1UECwwKQUIxMkNEMzRFRjEQMA4GA1UECgwH
    RXhhbXBsZTELMAkGA1UEBhMCWFgwgZ8wDQYJKoZIhvcNAQEBBQADgY0AMIGJAoGBANHlQvOQuEGfP8QcWpXKiGi3
    8MnQ+Op/o1maHjC7IjKyC0ruEFtg3sEBuYvcL3KQotew/IbmpmypUMKn4RjCip1wZJB4w8dB3Wxl4KqIJDOo4TG/
    Xn6GfhAD9yJUrr+awnKtcjGELAT/hL/f3p9nPqMvZWmK7mOePmZTUVYrnhFbAgMBAAGjdDByMBAGCiqGSIb3Y2QG
    AQ0EAgUAMBAGCiqGSIb3Y2QGAQ4EAgUAMAwGA1UdEwEB/wQCMAAwHQYDVR0OBBYEFDmxoKi/cNld3c1I4ZxukL58
    N9caMB8GA1UdIwQYMBaAFI7mECb/ZtfPTSpytLIFeifAMTtQMA0GCSqGSIb3DQEBCwUAA4GBAFxkPG39hXz8ulq0
    Q/a2vhVjIBBkYVBCVctHax1H/wz2jT9tsl6xtewaIkduINA+Tf8oRxD6QAWS5MCqcqtjzFyXU0hUSSZpFuf9ONWr
    JWbqHnhmVsZ+vErXl4nGgx9+DOmDe9RMVUCcae2WLtHxCJ7FnsWWLIZXfRoFgUCaM3s1";

/// "Test Authority", which issued that one.
pub(super) const AUTHORITY: &str = "
    MIICYDCCAcmgAwIBAgIULwVo1SXOp6CgpjIQkIrT6gDWvGwwDQYJKoZIhvcNAQELBQAwODEXMBUGA1UEAwwOVGVz
    dCBBdXRob3JpdHkxEDAOBgNVBAoMB0V4YW1wbGUxCzAJBgNVBAYTAlhYMCAXDTI2MTEyMzEyNTYxNloYDzIxMDAx
    MDI2MTI1NjE2WjA4MRcwFQYDVQQDDA5UZXN0IEF1dGhvcml0eTEQMA4GA1UECgwHRXhhbXBsZTELMAkGA1UEBhMC
    WFgwgZ8wDQYJKoZIhvcNAQEBBQADgY0AMIGJAoGBAKdnLBoSx5xeCKeo560Gpw/Jwp3uXMAkgwSvBTbvenvQ5yYN
    vS+n9fdR0HdjOlAMgPb5CLA9QzkKgXyulcvIfGkEL7pwWCJYSnnRPmQxUZc/gZXSHw71Sp1r00a/9UZCA1s4R0zM
    kBKVZnCsqn1wR8CfBGDNAeq+nJZ77c8WezlvAgMBAAGjZTBjMB0GA1UdDgQWBBSO5hAm/2bXz00qcrSyBXonwDE7
    UDAfBgNVHSMEGDAWgBSO5hAm/2bXz00qcrSyBXonwDE7UDAPBgNVHRMBAf8EBTADAQH/MBAGCiqGSIb3Y2QGAgYE
    AgUAMA0GCSqGSIb3DQEBCwUAA4GBAA/Pbr6Lr8F0mUjeGyI2q3iBJ5yRMPcHl5G0TDTclcJmgcYrSXB/uaof+C0/
    vzhQKO8HJS/2ZnktpN/jRSlQiYi+iVAr7HuDGn6Bg/FP1E32Zt06mq0WbFD7Af1+0xwARZ9a3zoAJZOtmJTTggwA
    HHJWdRzZ9aCavCIANJjGyK8l";

impl Signer {
    pub(super) fn new() -> Signer {
        Signer {
            time: "300102030405",
            certificates: vec![AUTHORITY, LEAF],
            has_timestamp: false,
        }
    }

    /// For code directories, with what kind of digest each has.
    pub(super) fn message(&self, directories: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let digest = |(hash, bytes): &(u8, Vec<u8>)| match hash {
            1 => (SHA1, super::maker::sha1(bytes)),
            _ => (SHA256, sha256(bytes)),
        };
        let digests: Vec<_> = directories.iter().map(digest).collect();
        let cdhashes = digests
            .iter()
            .map(|(_, digest)| format!("<data>{}</data>", STANDARD.encode(&digest[..20])));
        let list = format!(
            "<plist version=\"1.0\"><dict><key>cdhashes</key><array>{}</array></dict></plist>",
            cdhashes.collect::<String>()
        );
        let digests = digests
            .iter()
            .map(|(name, digest)| tagged(0x30, &[tagged(6, name), tagged(4, digest)].concat()));
        let attributes = [
            attribute(CDHASHES, tagged(4, list.as_bytes())),
            attribute(DIGESTS, digests.collect::<Vec<_>>().concat()),
        ];
        self.message_over(&directories[0].1, &attributes.concat())
    }

    /// Over any content, with more attributes.
    pub(super) fn message_over(&self, content: &[u8], more: &[u8]) -> Vec<u8> {
        let time = format!("{}Z", self.time);
        let attributes = [
            attribute(CONTENT_TYPE, tagged(6, DATA)),
            attribute(SIGNING_TIME, tagged(0x17, time.as_bytes())),
            attribute(MESSAGE_DIGEST, tagged(4, &sha256(content))),
            more.to_vec(),
        ];
        let attributes = attributes.concat();
        let signature = sign(SHA256, &sha256(&tagged(0x31, &attributes)));
        let unsigned = match self.has_timestamp {
            true => tagged(0xa1, &attribute(TIMESTAMP, tagged(4, b"midnight"))),
            false => Vec::new(),
        };
        let signer = [
            vec![2, 1, 1],
            tagged(0x30, &[authority_name(), tagged(2, SERIAL)].concat()),
            tagged(0x30, &tagged(6, SHA256)),
            tagged(0xa0, &attributes),
            tagged(0x30, &[tagged(6, RSA), vec![5, 0]].concat()),
            tagged(4, &signature),
            unsigned,
        ];
        self.around(&tagged(0x30, &signer.concat()))
    }

    fn around(&self, signer: &[u8]) -> Vec<u8> {
        let certificates = self.certificates.iter().map(|one| der(one));
        let fields = [
            vec![2, 1, 1],
            tagged(0x31, &tagged(0x30, &tagged(6, SHA256))),
            tagged(0x30, &tagged(6, DATA)),
            tagged(0xa0, &certificates.collect::<Vec<_>>().concat()),
            tagged(0x31, signer),
        ];
        let signed = tagged(0xa0, &tagged(0x30, &fields.concat()));
        tagged(0x30, &[tagged(6, SIGNED_DATA), signed].concat())
    }
}

/// A package of nothing but a table of contents, whose digest is signed plainly and in a message.
pub(super) fn package(is_digested_again: bool) -> Vec<u8> {
    let certificates =
        [LEAF, AUTHORITY].map(|it| format!("<X509Certificate>{it}</X509Certificate>"));
    let key = format!(
        "<KeyInfo><X509Data>{}</X509Data></KeyInfo>",
        certificates.concat()
    );
    let place = |offset, size| format!("<offset>{offset}</offset><size>{size}</size>");
    let empty = Signer::new().message_over(&[], &[]).len();
    let table = format!(
        "<xar><toc><checksum style=\"sha1\">{}</checksum><signature style=\"RSA\">{}{key}\
         </signature><x-signature style=\"CMS\">{}{key}</x-signature></toc></xar>",
        place(0, 20),
        place(20, 128),
        place(148, empty)
    );
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(table.as_bytes()).unwrap();
    let compressed = encoder.finish().unwrap();
    let checksum = super::maker::sha1(&compressed);
    let plain = match is_digested_again {
        true => sign(SHA256, &sha256(&checksum)),
        false => sign(SHA1, &checksum),
    };
    let mut package = b"xar!\0\x1c\0\x01".to_vec();
    package.extend((compressed.len() as u64).to_be_bytes());
    package.extend((table.len() as u64).to_be_bytes());
    package.extend([0, 0, 0, 1]);
    package.extend(compressed);
    package.extend(&checksum);
    package.extend(plain);
    package.extend(Signer::new().message_over(&checksum, &[]));
    package
}

/// By RFC 8017, section 8.2.1.
fn sign(algorithm: &[u8], digest: &[u8]) -> Vec<u8> {
    let name = tagged(0x30, &[tagged(6, algorithm), vec![5, 0]].concat());
    let info = tagged(0x30, &[name, tagged(4, digest)].concat());
    let mut block = vec![0, 1];
    block.resize(128 - info.len() - 1, 0xff);
    block.push(0);
    block.extend(info);
    let block = BigUint::from_bytes_be(&block);
    let signed = block
        .modpow(&number(SECRET), &number(MODULUS))
        .to_bytes_be();
    let mut signature = vec![0; 128 - signed.len()];
    signature.extend(signed);
    signature
}

fn number(text: &str) -> BigUint {
    let digits: String = text.split_whitespace().collect();
    BigUint::parse_bytes(digits.as_bytes(), 16).unwrap()
}

fn der(certificate: &str) -> Vec<u8> {
    let text: String = certificate.split_whitespace().collect();
    STANDARD.decode(text).unwrap()
}

fn attribute(name: &[u8], value: Vec<u8>) -> Vec<u8> {
    tagged(0x30, &[tagged(6, name), tagged(0x31, &value)].concat())
}

fn authority_name() -> Vec<u8> {
    let part = |name: u8, tag: u8, text: &str| {
        let pair = [tagged(6, &[0x55, 4, name]), tagged(tag, text.as_bytes())];
        tagged(0x31, &tagged(0x30, &pair.concat()))
    };
    let parts = [
        part(3, 0x0c, "Test Authority"),
        part(10, 0x0c, "Example"),
        part(6, 0x13, "XX"),
    ];
    tagged(0x30, &parts.concat())
}
