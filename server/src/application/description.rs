//! What an application says of a connection to everyone who may watch its groups: whether everyone can be told.
//!
//! In: a payload. Out: yes, or why not. Invariant: nobody is told another number than was said.

use fanfare_protocol::{Code, Denial, Payload, PayloadFormat};

/// Refuses JSON with a whole number that 64 bits do not hold: where it is told inside of something else, as to clients
/// of SignalR, it would be told as another.
pub(crate) fn check(data: &Payload) -> Result<(), Denial> {
    if data.format == PayloadFormat::Json { check_numbers(&data.bytes) } else { Ok(()) }
}

/// The same for JSON. What is no JSON is told as bytes.
pub(crate) fn check_numbers(json: &[u8]) -> Result<(), Denial> {
    let mut rest = json;
    let mut is_text = false;
    while let [first, behind @ ..] = rest {
        rest = behind;
        match first {
            b'"' => is_text = !is_text,
            b'\\' => rest = behind.get(1..).unwrap_or_default(),
            b'-' | b'0'..=b'9' if !is_text => {
                let is_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let length = behind.iter().take_while(|byte| is_of_number(byte)).count();
                let (more, behind) = behind.split_at(length);
                rest = behind;
                if !is_common(&[&[*first], more].concat()) {
                    let detail = "public data has a whole number beyond 64 bits, which not every client could be \
                                  told as it is; say it as a text";
                    return Err(Denial { code: Code::InvalidRequest, detail: detail.to_owned() });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a number is one that clients have: floating point, or a whole one of 64 bits.
fn is_common(number: &[u8]) -> bool {
    let is_whole = number.iter().all(|byte| matches!(byte, b'-' | b'0'..=b'9'));
    let text = str::from_utf8(number).unwrap_or_default();
    !is_whole || text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_beyond_64_bits_are_refused_and_nothing_else() {
        for json in [
            "{\"n\":18446744073709551615,\"m\":-9223372036854775808}",
            "[0.1, 1e300, -2.5E-3, 123456789012345678901234567890.5]",
            "\"18446744073709551616\"",
            "{\"a\\\"18446744073709551616\":1}",
            "no JSON",
            "",
        ] {
            assert_eq!(check(&Payload::json(json.to_owned())), Ok(()), "{json}");
        }
        for json in ["18446744073709551616", "[1,-9223372036854775809]", "{\"a\\\\\":18446744073709551616}"] {
            assert_eq!(
                check(&Payload::json(json.to_owned())).map_err(|denial| denial.code),
                Err(Code::InvalidRequest),
                "{json}"
            );
        }
        assert_eq!(check(&Payload::from("18446744073709551616")), Ok(()), "a text");
    }
}
