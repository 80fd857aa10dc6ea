//! Tables: each refused range by its edges and the public neighbours outside, each spelling of an inner address, and a
//! name that changes its mind between check and connect (control-plane cases 15 and 16).

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// First and last of each range; then v6 around a refused v4: mapped, compatible, translated, NAT64, 6to4, Teredo's server
/// and client.
const REFUSED: &str = "
0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.0 127.0.0.1
127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255
192.0.0.0 192.0.0.255 192.0.2.0 192.0.2.255 192.88.99.0 192.88.99.255 192.168.0.0 192.168.255.255
198.18.0.0 198.19.255.255 198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255 224.0.0.0
239.255.255.255 240.0.0.0 255.255.255.254 255.255.255.255 :: ::1 fe80:: febf:ffff:: fec0::
feff:ffff:: fc00:: fdff:ffff:: fd00:ec2::254 ff00:: ff02::1 ffff:ffff:: 2001:db8:: 2001:db8:ffff::
3fff:: 3fff:fff:: 2001:2:: 2001:10:: 2001:2f:ffff:: 100::1 1fff:ffff:: 4000:: 64:ff9b:1::
64:ff9b:1::808:808 64:ff9c::808:808 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:a9fe:a9fe ::127.0.0.1
::10.0.0.1 ::ffff:0:10.0.0.1 64:ff9b::10.0.0.1 64:ff9b::169.254.169.254 2002:7f00:1:: 2002:0a00:1::1
2002:c0a8:101:: 2001:0:0a00:1::f7f7:f7f7 2001:0:808:808:0:0:f5ff:fffe
";

/// The first beyond each end, and v6 around a public v4.
const PUBLIC: &str = "
1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15
168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0
192.0.1.255 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0 198.17.255.255
198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255 2000:: 2001:200::1
2001:db7:ffff:: 2001:db9:: 2606:4700::1111 3ffe::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:0808:0808::1
2001:0:808:808::f7f7:f7f7
";

fn closed() -> Egress {
    Egress::new(Vec::new(), Vec::new(), Vec::new())
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| SocketAddr::new(text.parse().unwrap(), 443))
}

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter().map(|t| t.parse().unwrap()).collect()
}

#[test]
fn both_ends_of_every_range_that_is_not_public_are_refused() {
    for ip in REFUSED.split_whitespace() {
        let refusal = closed().vet(addr(ip)).expect_err(ip);
        assert!(matches!(refusal, EgressError::Refused { .. }), "{ip}: {refusal:?}");
    }
}

#[test]
fn public_neighbours_are_reached() {
    for ip in PUBLIC.split_whitespace() {
        assert_eq!(closed().vet(addr(ip)), Ok(()), "{ip}");
    }
}

#[test]
fn ports_of_other_protocols_are_refused_on_public_addresses() {
    for (port, reached) in
        [(0, false), (22, false), (25, false), (79, false), (81, false), (80, true), (443, true)]
    {
        assert_eq!(closed().vet(SocketAddr::new([8, 8, 8, 8].into(), port)).is_ok(), reached, "{port}");
    }
    for port in [1024, 8080, 8443, 65535] {
        assert_eq!(closed().vet(SocketAddr::new([8, 8, 8, 8].into(), port)), Ok(()), "{port}");
    }
    assert_eq!(
        closed().vet(addr("8.8.8.8:1023")),
        Err(EgressError::Port { host: "8.8.8.8".to_owned(), port: 1023 })
    );
}

#[test]
fn the_operator_can_allow_ranges_but_not_our_own_listeners() {
    let never = vec![addr("10.0.0.5:27017"), addr("127.0.0.1:6379")];
    let egress = Egress::new(
        nets(&["10.0.0.0/8", "127.0.0.0/8", "64:ff9b::/96", "0.0.0.0/8", "::/0"]),
        Vec::new(),
        never,
    );
    for reached in
        ["10.0.0.5:80", "10.0.0.4:27017", "127.0.0.1:22", "[::ffff:10.1.2.3]:9000", "[64:ff9b::10.0.0.1]:1"]
    {
        assert_eq!(egress.vet(addr(reached)), Ok(()), "{reached}");
    }
    for own in ["10.0.0.5:27017", "[::ffff:10.0.0.5]:27017", "[64:ff9b::10.0.0.5]:27017", "127.0.0.1:6379"] {
        assert!(matches!(egress.vet(addr(own)), Err(EgressError::Own { .. })), "{own}");
    }
    // Connecting to the unspecified address is connecting to this machine.
    for other_name in ["0.0.0.0:6379", "[::]:6379", "0.0.0.0:80", "[::ffff:0.0.0.0]:6379", "10.0.0.1:0"] {
        assert!(egress.vet(addr(other_name)).is_err(), "{other_name}");
    }
    assert!(egress.vet(addr("192.168.0.1")).is_err(), "not in the list");
}

#[test]
fn a_listener_on_every_address_is_refused_on_every_address_of_this_machine() {
    for any in ["0.0.0.0:8080", "[::]:8080"] {
        let egress = Egress::new(nets(&["0.0.0.0/0", "::/0"]), Vec::new(), vec![addr(any)]);
        assert!(matches!(egress.vet(addr("127.0.0.1:8080")), Err(EgressError::Own { .. })));
        assert!(matches!(egress.vet(addr("127.1.2.3:8080")), Err(EgressError::Own { .. })));
        assert!(matches!(egress.vet(addr("[::1]:8080")), Err(EgressError::Own { .. })));
        assert_eq!(egress.vet(addr("127.0.0.1:8081")), Ok(()));
        assert_eq!(egress.vet(addr("203.0.113.9:8080")), Ok(()), "another machine with the same port");
    }
}

#[test]
fn the_demo_upstream_is_reached_by_its_exact_address_only() {
    let demo = addr("127.0.0.1:4010");
    let egress = Egress::new(Vec::new(), vec![demo], vec![addr("0.0.0.0:4010")]);
    assert_eq!(egress.vet(demo), Ok(()));
    assert!(egress.vet(addr("127.0.0.1:4011")).is_err());
    assert!(egress.vet(addr("127.0.0.2:4010")).is_err());
}

#[test]
fn a_zone_is_refused_even_where_the_range_is_allowed() {
    let egress = Egress::new(nets(&["fe80::/10"]), Vec::new(), Vec::new());
    assert_eq!(egress.vet(addr("[fe80::1]:443")), Ok(()));
    assert!(egress.vet(addr("[fe80::1%3]:443")).is_err());
    assert!(egress.parse("http://[fe80::1%25eth0]/").is_err());
    assert!(egress.parse("http://[fe80::1%eth0]/").is_err());
}

#[test]
fn an_address_is_read_whole() {
    let read = |text| closed().parse(text).unwrap();
    let plain = read("https://API.example.com");
    assert_eq!((plain.scheme, plain.host.as_str(), plain.port), (Scheme::Https, "api.example.com", 443));
    assert_eq!((plain.path_and_query.as_str(), plain.authority().as_str()), ("/", "api.example.com"));
    let full = read("HTTP://api.example.com:8080/a/b?c=d&e=@");
    assert_eq!((full.scheme, full.port, full.path_and_query.as_str()), (Scheme::Http, 8080, "/a/b?c=d&e=@"));
    assert_eq!(full.authority(), "api.example.com:8080");
    let v6 = read("https://[2606:4700::1111]:8443/x");
    assert_eq!((v6.host.as_str(), v6.authority().as_str()), ("2606:4700::1111", "[2606:4700::1111]:8443"));
    assert_eq!(v6.literal(), Some(addr("[2606:4700::1111]:8443")));
    assert_eq!(read("http://8.8.8.8/").literal(), Some(addr("8.8.8.8:80")));
}

#[test]
fn spellings_of_an_address_that_a_lenient_parser_would_repair_are_refused() {
    for text in [
        // numbers that the URL standard makes addresses of
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://0x7f.0.0.1/",
        "http://0x7f000001",
        "http://127.1",
        "http://127.0.1/",
        "http://0",
        "http://8.8.8.8./",
        "http://08.8.8.8/",
        "http://134744072/",
        "http://0x08080808/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        // translations into them
        "http://%31%32%37.0.0.1/",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://ⓔxample.com/",
        // userinfo, fragments, schemes, whitespace, slashes
        "http://a@example.com/",
        "http://a:b@example.com/",
        "http://example.com@127.0.0.1/",
        "http://example.com/#x",
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "gopher://example.com",
        "//example.com/",
        "example.com",
        "http:example.com",
        "http:/example.com",
        "http:///example.com",
        "http://",
        "https://?x",
        "",
        " http://example.com",
        "http://exam\tple.com/",
        "http://example.com/\n",
        "http:\\\\example.com",
        "http://a\\b/",
        // ports
        "http://example.com:",
        "http://example.com:0/",
        "http://example.com:65536/",
        "http://example.com:+80/",
        "http://example.com:8a/",
        "http://[::1",
        "http://[::1]x/",
        "http://[::1]:/",
        "http://::1/",
        "http://[v1.a]/",
        "http://exa mple.com",
        "http://exa<mple.com",
    ] {
        let refusal = closed().parse(text).expect_err(text);
        assert!(matches!(refusal, EgressError::Malformed { .. }), "{text}: {refusal:?}");
    }
    assert!(closed().parse(&format!("http://example.com/{}", "a".repeat(URL_MAX_BYTES))).is_err());
    assert!(closed().parse(&format!("http://{}.com/", "a".repeat(260))).is_err());
    for literal in
        ["http://127.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/"]
    {
        assert!(matches!(closed().parse(literal), Err(EgressError::Refused { .. })), "{literal}");
    }
}

fn names(answer: impl Fn(&str) -> Vec<IpAddr> + Send + Sync + 'static) -> Egress {
    Egress::with_names(Vec::new(), Vec::new(), Vec::new(), Names::Given(Arc::new(answer)))
}

#[tokio::test]
async fn one_inner_address_refuses_the_name_and_is_not_told() {
    let egress = names(|_| vec!["8.8.8.8".parse().unwrap(), "10.1.2.3".parse().unwrap()]);
    let destination = egress.parse("https://api.example.com/").unwrap();
    let refusal = egress.resolve(&destination).await.unwrap_err();
    assert_eq!(refusal, EgressError::NameRefused { host: "api.example.com".to_owned() });
    assert!(
        !refusal.to_string().contains("10.1.2.3") && refusal.to_string().contains("APICLAY_EGRESS_ALLOW")
    );
}

#[tokio::test]
async fn a_name_that_rebinds_after_the_check_is_not_followed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let egress = names(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => vec!["8.8.8.8".parse().unwrap()],
        _ => vec!["127.0.0.1".parse().unwrap()],
    });
    let destination = egress.parse("https://rebind.example.com/").unwrap();
    // What the caller connects to is the list itself: the name is asked once.
    assert_eq!(egress.resolve(&destination).await.unwrap(), [addr("8.8.8.8:443")]);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert!(egress.resolve(&destination).await.is_err(), "and vetted anew each time it is asked");
}

#[tokio::test]
async fn addresses_are_capped_after_all_were_vetted() {
    let many = |last: &'static str| {
        names(move |_| (0..100).map(|n| IpAddr::from([8, 8, 4, n])).chain([last.parse().unwrap()]).collect())
    };
    let destination = closed().parse("https://many.example.com/").unwrap();
    assert_eq!(many("8.8.8.8").resolve(&destination).await.unwrap().len(), ADDRESSES_MAX);
    assert!(many("127.0.0.1").resolve(&destination).await.is_err());
    let none = names(|_| Vec::new()).resolve(&destination).await;
    assert_eq!(none, Err(EgressError::NotFound { host: "many.example.com".to_owned() }));
}

#[tokio::test]
async fn the_hosts_file_is_read_and_localhost_refused() {
    let destination = closed().parse("http://localhost:8080/").unwrap();
    let refusal = closed().resolve(&destination).await.unwrap_err();
    assert_eq!(refusal, EgressError::NameRefused { host: "localhost".to_owned() });
    let open = Egress::new(nets(&["127.0.0.0/8", "::1/128"]), Vec::new(), Vec::new());
    assert!(
        open.resolve(&destination).await.unwrap().iter().all(|a| a.ip().is_loopback() && a.port() == 8080)
    );
}
