//! What each kind of file is called, and what is advised.

use super::*;
use base64::engine::general_purpose::STANDARD;

/// An element of DER that is short.
fn element_of(tag: u8, inside: &[&[u8]]) -> Vec<u8> {
    let inside = inside.concat();
    [&[tag, 0x81, u8::try_from(inside.len()).unwrap()][..], &inside].concat()
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

#[test]
fn each_kind_of_file_is_called_by_its_name_with_what_to_do() {
    let number = |length: usize| element_of(0x02, &[&vec![7; length]]);
    let identifier = element_of(0x06, &[b"\x2a\x03"]);
    let bits = element_of(0x03, &[b"\0bits"]);
    let octets = element_of(0x04, &[b"octets"]);
    let sequence = |inside: &[&[u8]]| element_of(0x30, inside);
    let kind = sequence(&[&identifier]);
    let public = sequence(&[&kind, &bits]);
    let point = "AAAAC3NzaC1lZDI1NTE5AAAAIA";
    for (bytes, what, instead) in [
        (Vec::new(), "an empty file", "write the key into it"),
        (utf16("text", u16::to_le_bytes), "text in UTF-16", "save it as UTF-8"),
        (utf16("text", u16::to_be_bytes), "text in UTF-16", "save it as UTF-8"),
        (utf16("\u{feff}\u{439}\t\n", u16::to_le_bytes), "text in UTF-16", "save it as UTF-8"),
        (utf16("\u{feff}\u{439}", u16::to_be_bytes), "text in UTF-16", "save it as UTF-8"),
        // What begins like that, and is no text.
        (b"\xff\xfe\x00\xd8\x41\x00".to_vec(), "binary data, 6 bytes", "said to be one"),
        (b"\xff\xfe\x07\x00".to_vec(), "binary data, 4 bytes", "said to be one"),
        (vec![0; 8], "a secret, 8 bytes of text", "said to be one"),
        (b"\x00\xff\x00\x00".to_vec(), "binary data, 4 bytes", "said to be one"),
        (b"\xff\x00\x00\x00".to_vec(), "binary data, 4 bytes", "said to be one"),
        (b"\x00\x00\x00\xff".to_vec(), "binary data, 4 bytes", "said to be one"),
        (b"\x00\x00\xff\x00".to_vec(), "binary data, 4 bytes", "said to be one"),
        (format!("ssh-ed25519 {point}").into_bytes(), "an SSH public key", "ssh-keygen -e -m PKCS8"),
        (format!("ecdsa-sha2-nistp256 {point}").into_bytes(), "an SSH public key", "ssh-keygen"),
        (format!("sk-ssh-ed25519@openssh.com {point}").into_bytes(), "an SSH public key", "ssh-keygen"),
        (b"---- BEGIN SSH2 PUBLIC KEY ----".to_vec(), "an SSH public key", "ssh-keygen"),
        (b"{\"kty\": 1}".to_vec(), "a JWK or a JWK Set", "as a public key"),
        (b"\xef\xbb\xbf {\"keys\": 1}".to_vec(), "a JWK or a JWK Set", "as a public key"),
        (b"{\"monkeys\": 1}".to_vec(), "JSON", "an object with \"kty\""),
        (b"[{\"kty\": 1}]".to_vec(), "a bare list in JSON", "{\"keys\": in front of the list"),
        (b"https://login.example".to_vec(), "an address", "given as a URL"),
        (b"http://login.example".to_vec(), "an address", "given as a URL"),
        (b"eyJh.eyJz.AAAA".to_vec(), "a token", "the key that tokens are checked with"),
        (b"eyJh.eyJz".to_vec(), "a secret, 9 bytes of text", "said to be one"),
        (b"eyJh.eyJz.!".to_vec(), "a secret, 11 bytes of text", "said to be one"),
        (b"AAAA.eyJz.AAAA".to_vec(), "a secret, 14 bytes of text", "said to be one"),
        (b"a secret of mine\n".to_vec(), "a secret, 17 bytes of text", "said to be one"),
        (b"\xa5\xa5".to_vec(), "binary data, 2 bytes", "said to be one"),
        (public.clone(), "a public key in DER", "openssl pkey -pubin"),
        (
            STANDARD.encode(&public).into_bytes(),
            "base64 of a public key in DER",
            "-----BEGIN PUBLIC KEY-----",
        ),
        (sequence(&[&kind, &kind, &bits]), "a certificate in DER", "openssl x509"),
        (sequence(&[&number(33), &number(3)]), "an RSA public key in DER (PKCS #1)", "openssl rsa"),
        (sequence(&[&number(1), &kind, &octets]), "a private key in DER", "-pubout"),
        (sequence(&[&number(1), &octets]), "a private key in DER", "-pubout"),
        (sequence(&[b"\x02\x01\x00", &number(33)]), "a private key in DER", "-pubout"),
        // Almost one of them, but not.
        ([&public[..], b"\xff"].concat(), "binary data", "said to be one"),
        (sequence(&[&kind, &octets, b"\xff"]), "binary data", "said to be one"),
        (sequence(&[&octets, &bits, b"\xff"]), "binary data", "said to be one"),
        (sequence(&[&sequence(&[&octets]), &bits, b"\xff"]), "binary data", "said to be one"),
        (sequence(&[&kind, &kind, &octets, b"\xff"]), "binary data", "said to be one"),
        (sequence(&[&number(32), &number(3)]), "binary data", "said to be one"),
        (sequence(&[&number(32), &number(3), b"\xff"]), "binary data", "said to be one"),
        (sequence(&[&number(33), &octets, b"\xff"]), "a private key in DER", "-pubout"),
        (sequence(&[&number(33), &number(3), b"\xff"]), "binary data", "said to be one"),
        (sequence(&[&number(1), b"\xff"]), "binary data", "said to be one"),
    ] {
        let look = look(&bytes);
        assert!(look.what.starts_with(what), "{bytes:x?}: {}, and not {what}", look.what);
        assert!(look.instead.contains(instead), "{what}: {}", look.instead);
    }
}

#[test]
fn what_stands_around_text_is_taken_off() {
    assert_eq!(bare("\u{feff} \n{} \n"), "{}");
    assert_eq!(bare("{}"), "{}");
}
