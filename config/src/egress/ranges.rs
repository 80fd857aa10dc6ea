//! Which addresses are not public, as two tables (IANA's special-purpose registries, RFC 6890 and its successors), and
//! which v4 addresses hide in a v6 address. Pure. Next: [`super::Egress::vet`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// v4 ranges that are refused; the first that matches gives the reason.
const REFUSED_V4: [(Ipv4Net, &str); 17] = [
    (v4(0, 0, 0, 0, 8), "an unspecified address"),
    (v4(10, 0, 0, 0, 8), "a private address"),
    (v4(100, 64, 0, 0, 10), "a carrier's inner address"),
    (v4(127, 0, 0, 0, 8), "a loopback address"),
    (v4(169, 254, 0, 0, 16), "a link-local address"),
    (v4(172, 16, 0, 0, 12), "a private address"),
    (v4(192, 0, 0, 0, 24), "an address kept for protocols"),
    (v4(192, 0, 2, 0, 24), "an address for documentation"),
    (v4(192, 88, 99, 0, 24), "an address of 6to4 relays"),
    (v4(192, 168, 0, 0, 16), "a private address"),
    (v4(198, 18, 0, 0, 15), "an address for benchmarks"),
    (v4(198, 51, 100, 0, 24), "an address for documentation"),
    (v4(203, 0, 113, 0, 24), "an address for documentation"),
    (v4(224, 0, 0, 0, 4), "a multicast address"),
    (v4(255, 255, 255, 255, 32), "the broadcast address"),
    (v4(240, 0, 0, 0, 4), "a reserved address"),
    // Some cloud platforms answer for their hosts' metadata here, inside a range that is otherwise public.
    (v4(168, 63, 129, 16, 32), "an address of the hosting platform"),
];

/// v6 ranges inside 2000::/3 that are refused, and those outside it that have a better name than "not global".
const REFUSED_V6: [(Ipv6Net, &str); 11] = [
    (v6(0xfe80, 0, 0, 10), "a link-local address"),
    (v6(0xfc00, 0, 0, 7), "a private address"),
    (v6(0xfec0, 0, 0, 10), "a private address"),
    (v6(0xff00, 0, 0, 8), "a multicast address"),
    (v6(0x64, 0xff9b, 1, 48), "a translator's inner address"),
    (v6(0x2001, 2, 0, 48), "an address for benchmarks"),
    (v6(0x2001, 0x10, 0, 28), "an address that is not routed"),
    (v6(0x2001, 0x20, 0, 28), "an address that is not routed"),
    (v6(0x2001, 0xdb8, 0, 32), "an address for documentation"),
    (v6(0x3fff, 0, 0, 20), "an address for documentation"),
    (v6(0x100, 0, 0, 64), "an address that discards"),
];

const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 0, 3);
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 0, 96);
const TEREDO: Ipv6Net = v6(0x2001, 0, 0, 32);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 16);
/// RFC 2765: `::ffff:0:a.b.c.d`, what a stateless translator turns into `a.b.c.d`.
const TRANSLATED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96);
/// `::a.b.c.d`, v4-compatible.
const COMPATIBLE: Ipv6Net = v6(0, 0, 0, 96);

/// Why `ip` is refused by the range it lies in; nothing where it is public. Expects mapped addresses as v4.
pub(super) fn refused(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(v4) => REFUSED_V4.iter().find(|(range, _)| range.contains(&v4)).map(|(_, why)| *why),
        IpAddr::V6(v6) => refused_v6(v6),
    }
}

fn refused_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if ip.is_loopback() {
        return Some("a loopback address");
    }
    if ip.is_unspecified() {
        return Some("an unspecified address");
    }
    if let Some((_, why)) = REFUSED_V6.iter().find(|(range, _)| range.contains(&ip)) {
        return Some(why);
    }
    // Those that carry a v4 address are as public as it is: `embedded` has it.
    let carries_v4 = [NAT64, TRANSLATED, COMPATIBLE].iter().any(|range| range.contains(&ip));
    if GLOBAL_V6.contains(&ip) || carries_v4 { None } else { Some("not a global address") }
}

/// The v4 addresses that packets to `ip` would or could end at.
pub(super) fn embedded(ip: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else { return Vec::new() };
    let bits = v6.to_bits();
    // Truncation is the point: 32 bits of the 128.
    let at = |shift: u32| Ipv4Addr::from_bits((bits >> shift) as u32);
    if v6.is_loopback() || v6.is_unspecified() {
        Vec::new()
    } else if [NAT64, TRANSLATED, COMPATIBLE].iter().any(|range| range.contains(&v6)) {
        vec![at(0)]
    } else if SIX_TO_FOUR.contains(&v6) {
        vec![at(80)]
    } else if TEREDO.contains(&v6) {
        // The server in the clear, the client with all bits turned.
        vec![at(64), Ipv4Addr::from_bits(!at(0).to_bits())]
    } else {
        Vec::new()
    }
}
