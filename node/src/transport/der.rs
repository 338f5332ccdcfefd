//! The few fields of a certificate that webpki does not show.
//!
//! Purpose: dates, CA flag, key usages and the list of alternative names, read from DER, so that roots and leaves can
//! be held to rules that webpki leaves to its caller. Inputs: the bytes of a certificate. Outputs: [`Fields`], or none
//! when the bytes are not a certificate. What it does not do: check signatures; webpki does. Source: RFC 5280, section
//! 4.1.

use std::time::Duration;

const SEQUENCE: u8 = 0x30;
const OBJECT_ID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// Tag of a URI among alternative names.
pub(crate) const NAME_URI: u8 = 0x86;

const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// What a certificate says about itself. Times since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fields {
    pub(crate) not_before: Duration,
    pub(crate) not_after: Duration,
    pub(crate) ca: bool,
    pub(crate) signs_certificates: bool,
    pub(crate) signs_data: bool,
    pub(crate) client_auth: bool,
    /// Tag and content of each alternative name.
    pub(crate) names: Vec<(u8, Vec<u8>)>,
}

/// Reads a certificate.
pub(crate) fn fields(certificate: &[u8]) -> Option<Fields> {
    let mut body = Reader(Reader(Reader(certificate).expect(SEQUENCE)?).expect(SEQUENCE)?);
    body.optional(VERSION);
    let [_serial, _algorithm, _issuer] = [body.next()?, body.next()?, body.next()?];
    let mut validity = Reader(body.expect(SEQUENCE)?);
    let mut fields =
        Fields { not_before: time(validity.next()?)?, not_after: time(validity.next()?)?, ..Fields::default() };
    let [_subject, _key] = [body.next()?, body.next()?];
    while let Some((tag, value)) = body.next() {
        if tag == EXTENSIONS {
            let mut list = Reader(Reader(value).expect(SEQUENCE)?);
            while !list.0.is_empty() {
                extension(list.expect(SEQUENCE)?, &mut fields)?;
            }
        }
    }
    Some(fields)
}

fn extension(bytes: &[u8], fields: &mut Fields) -> Option<()> {
    let mut reader = Reader(bytes);
    let id = reader.expect(OBJECT_ID)?;
    reader.optional(BOOLEAN);
    let mut value = Reader(reader.expect(OCTET_STRING)?);
    match id {
        BASIC_CONSTRAINTS => {
            let flag = Reader(value.expect(SEQUENCE)?).optional(BOOLEAN);
            fields.ca = flag.is_some_and(|flag| flag == [0xff]);
        }
        KEY_USAGE => {
            let bits = value.expect(BIT_STRING)?.get(1).copied().unwrap_or(0);
            fields.signs_data = bits & 0x80 != 0;
            fields.signs_certificates = bits & 0x04 != 0;
        }
        EXTENDED_KEY_USAGE => {
            let mut usages = Reader(value.expect(SEQUENCE)?);
            while let Some((_, usage)) = usages.next() {
                fields.client_auth |= usage == CLIENT_AUTH;
            }
        }
        ALTERNATIVE_NAMES => {
            let mut names = Reader(value.expect(SEQUENCE)?);
            while let Some((tag, name)) = names.next() {
                fields.names.push((tag, name.to_vec()));
            }
        }
        _ => {}
    }
    Some(())
}

/// What is left of a run of tagged values.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next value with its tag; none at the end and for anything that is not DER.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, value)| value)
    }

    fn optional(&mut self, wanted: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&wanted) { self.expect(wanted) } else { None }
    }
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`; RFC 5280 allows no other form.
fn time((tag, text): (u8, &[u8])) -> Option<Duration> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = (number(text.get(..2)?)?, text.get(2..)?);
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => (number(text.get(..4)?)?, text.get(4..)?),
        _ => return None,
    };
    let (digits, zone) = rest.split_at_checked(10)?;
    let mut pairs = digits.chunks_exact(2).map(number);
    let mut next = || pairs.next().flatten();
    let [month, day, hour, minute, second] = [next()?, next()?, next()?, next()?, next()?];
    if zone != b"Z" || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60
    {
        return None;
    }
    let seconds = days_since_epoch(year, month, day)?.checked_mul(86_400)? + hour * 3600 + minute * 60 + second;
    Some(Duration::from_secs(seconds))
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

/// Days from 1970-01-01 in the Gregorian calendar; none for earlier ones.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years begin in March here, so that a leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_date_are_read() {
        let utc = time((UTC_TIME, b"260102030405Z")).unwrap();
        assert_eq!(utc, time((GENERALIZED_TIME, b"20260102030405Z")).unwrap());
        assert_eq!(utc, Duration::from_secs(1_767_323_045));
        assert_eq!(time((GENERALIZED_TIME, b"19700101000000Z")), Some(Duration::ZERO));
        assert_eq!(time((GENERALIZED_TIME, b"20240229000000Z")), Some(Duration::from_secs(1_709_164_800)));
        for wrong in [&b"260102030405"[..], b"261302030405Z", b"2601020304Z", b"26010203040aZ", b"260102030405+0100"] {
            assert_eq!(time((UTC_TIME, wrong)), None);
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused_whatever_their_length_says() {
        for bytes in [&b""[..], b"\x30", b"\x30\x05\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80\x00\x00", &[0xff; 64]]
        {
            assert_eq!(fields(bytes), None);
        }
    }
}
