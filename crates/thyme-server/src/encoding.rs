//! Compressed bodies: answers for those who take them, requests for those who send them.

use std::io::{self, Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use thyme_core::{Error, ErrorKind, Result};

use crate::request::Reply;

/// Answers of fewer bytes fit into a packet anyhow.
const ENCODED_FROM: usize = 1024;
/// The fastest: answers are made faster than most networks carry them.
const GZIP_LEVEL: Compression = Compression::fast();
const ZSTD_LEVEL: i32 = 1;
/// The largest window of a zstd body, as a power of two: what its decoder takes. RFC 8878 asks for no less.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// What is decoded at once.
const PIECE: usize = 64 << 10;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Zstd,
    Gzip,
}

impl Coding {
    const fn name(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    fn named(name: &str) -> Option<Coding> {
        let is = |one: &str| name.eq_ignore_ascii_case(one);
        match () {
            () if is("zstd") => Some(Coding::Zstd),
            () if is("gzip") || is("x-gzip") => Some(Coding::Gzip),
            () => None,
        }
    }

    /// What a caller takes best, by its `Accept-Encoding`; `None` is the body as it is. Of what it takes equally,
    /// zstd, which is faster.
    pub fn accepted(header: &str) -> Option<Coding> {
        let mut best: Option<(f32, Coding)> = None;
        let mut others = 0.0;
        let mut refused = Vec::new();
        for part in header.split(',') {
            let mut words = part.split(';').map(str::trim);
            let name = words.next().unwrap_or_default();
            let weight = words.find_map(|word| word.strip_prefix("q=").or_else(|| word.strip_prefix("Q=")));
            let weight = weight.map_or(1.0, |text| text.parse().unwrap_or(0.0));
            match Coding::named(name) {
                None if name == "*" => others = weight,
                None => {}
                Some(coding) if weight > 0.0 => {
                    let is_better = |(known, other): (f32, Coding)| {
                        weight > known || (weight == known && other == Coding::Gzip)
                    };
                    if best.is_none_or(is_better) {
                        best = Some((weight, coding));
                    }
                }
                Some(coding) => refused.push(coding),
            }
        }
        let any = [Coding::Zstd, Coding::Gzip].into_iter().find(|coding| !refused.contains(coding));
        best.map(|(_, coding)| coding).or_else(|| any.filter(|_| others > 0.0))
    }

    /// How a body says that it is compressed; `None` is not at all.
    ///
    /// # Errors
    /// Another coding, or several.
    pub fn of_body(header: Option<&str>) -> Result<Option<Coding>, Reply> {
        let Some(header) =
            header.map(str::trim).filter(|h| !h.is_empty() && !h.eq_ignore_ascii_case("identity"))
        else {
            return Ok(None);
        };
        Coding::named(header).map(Some).ok_or_else(|| {
            let detail = format!(
                "Content-Encoding: expected gzip, zstd or none, got \"{}\"",
                header.chars().take(60).collect::<String>()
            );
            let mut reply = Reply::failure(415, "unsupported_media_type", &detail, &[]);
            reply.headers.push(("accept-encoding", "gzip, zstd".into()));
            reply
        })
    }

    /// How many bytes a body decodes to. Nothing of them is kept: so much room can be taken before they are.
    ///
    /// # Errors
    /// InvalidData: it is damaged. TooLarge: they are more than `bytes_max`.
    pub fn decoded_len(self, body: &[u8], bytes_max: usize) -> Result<usize> {
        let mut decoder = self.decoder(body)?;
        let mut piece = vec![0; PIECE];
        let mut bytes = 0;
        loop {
            match decoder.read(&mut piece).map_err(|e| self.damaged(&e))? {
                0 => return Ok(bytes),
                read => bytes += read,
            }
            if bytes > bytes_max {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    format!("the body decompresses to more than {bytes_max} bytes; send it in parts"),
                ));
            }
        }
    }

    /// The bytes, which are `len`.
    ///
    /// # Errors
    /// InvalidData: it is damaged.
    pub fn decode(self, body: &[u8], len: usize) -> Result<Bytes> {
        let mut decoded = Vec::with_capacity(len);
        self.decoder(body)?.take(len as u64).read_to_end(&mut decoded).map_err(|e| self.damaged(&e))?;
        Ok(decoded.into())
    }

    fn decoder<'b>(self, body: &'b [u8]) -> Result<Box<dyn Read + 'b>> {
        Ok(match self {
            Coding::Gzip => Box::new(MultiGzDecoder::new(body)),
            Coding::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(body).map_err(|e| self.damaged(&e))?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|e| self.damaged(&e))?;
                Box::new(decoder)
            }
        })
    }

    fn damaged(self, error: &io::Error) -> Error {
        Error::invalid_data(format!("the body is not {} as its Content-Encoding says: {error}", self.name()))
    }

    fn encode(self, body: &[u8]) -> io::Result<Vec<u8>> {
        let out = Vec::with_capacity(body.len() / 4);
        match self {
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(out, GZIP_LEVEL);
                encoder.write_all(body)?;
                encoder.finish()
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.write_all(body)?;
                encoder.finish()
            }
        }
    }

    /// Compresses an answer that is worth it.
    pub fn compress(self, reply: &mut Reply) {
        if reply.body.len() < ENCODED_FROM {
            return;
        }
        // What cannot be compressed goes as it is.
        if let Ok(encoded) = self.encode(&reply.body)
            && encoded.len() < reply.body.len()
        {
            reply.body = encoded;
            reply.headers.push(("content-encoding", self.name().into()));
        }
        reply.headers.push(("vary", "accept-encoding".into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Coding; 2] = [Coding::Gzip, Coding::Zstd];

    #[test]
    fn the_coding_is_what_the_caller_takes_best() {
        for (header, expected) in [
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("gzip, deflate", Some(Coding::Gzip)),
            ("gzip;q=1.0, zstd;q=0.5", Some(Coding::Gzip)),
            ("zstd;q=0, gzip;q=0.1", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("GZIP", Some(Coding::Gzip)),
            ("*", Some(Coding::Zstd)),
            ("zstd;q=0, *;q=0.5", Some(Coding::Gzip)),
            ("*;q=0", None),
            ("gzip;q=nonsense", None),
            ("identity", None),
            ("br", None),
            ("", None),
        ] {
            assert_eq!(Coding::accepted(header), expected, "{header}");
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same_bytes() {
        let bodies: [Vec<u8>; 3] =
            [vec![], b"{}".to_vec(), (0..300_000u32).flat_map(u32::to_le_bytes).collect()];
        for (coding, body) in
            BOTH.into_iter().flat_map(|coding| bodies.iter().map(move |body| (coding, body)))
        {
            let encoded = coding.encode(body).unwrap();
            assert_eq!(coding.decoded_len(&encoded, 2 << 20).unwrap(), body.len());
            assert_eq!(coding.decode(&encoded, body.len()).unwrap(), body);
            // Two streams that follow each other are one body.
            let twice = [encoded.clone(), encoded.clone()].concat();
            assert_eq!(coding.decoded_len(&twice, 4 << 20).unwrap(), 2 * body.len());
            if body.len() > 100 {
                let cut = encoded.get(..encoded.len() / 2).unwrap();
                assert_eq!(coding.decoded_len(cut, 2 << 20).unwrap_err().kind(), ErrorKind::InvalidData);
            }
            assert_eq!(coding.decoded_len(b"{\"a\": 1}", 100).unwrap_err().kind(), ErrorKind::InvalidData);
        }
    }

    #[test]
    fn a_bomb_is_refused_before_any_of_it_is_kept() {
        for coding in BOTH {
            let bomb = coding.encode(&vec![0; 8 << 20]).unwrap();
            assert!(bomb.len() < 256 << 10);
            assert_eq!(coding.decoded_len(&bomb, 1 << 20).unwrap_err().kind(), ErrorKind::TooLarge);
        }
    }

    #[test]
    fn an_answer_is_compressed_if_that_makes_it_smaller() {
        let reply = |body: &[u8]| Reply { status: 200, headers: Vec::new(), body: body.to_vec() };
        let mut large = reply(&[b'a'; 4096]);
        Coding::Gzip.compress(&mut large);
        assert!(large.body.len() < 100 && large.headers.contains(&("content-encoding", "gzip".into())));
        let mut small = reply(b"{}");
        Coding::Zstd.compress(&mut small);
        assert_eq!((small.body.as_slice(), small.headers.len()), (b"{}".as_slice(), 0));
    }

    #[test]
    fn only_one_known_coding_of_a_body_is_taken() {
        assert_eq!(Coding::of_body(None).unwrap(), None);
        assert_eq!(Coding::of_body(Some("identity")).unwrap(), None);
        assert_eq!(Coding::of_body(Some("Zstd")).unwrap(), Some(Coding::Zstd));
        for other in ["br", "gzip, zstd", "deflate"] {
            assert_eq!(Coding::of_body(Some(other)).unwrap_err().status, 415);
        }
    }
}
