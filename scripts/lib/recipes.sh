# Builds images on this machine if no registry can be reached: a minimal Debian with an interpreter from Debian or pyenv.
# They have the names of the official images and the label rgrid.built.
# Sourced, not run; needs say.sh, root.sh and apt.sh.
# shellcheck shell=bash

# The packages of the official slim images, and the libraries that CPython's modules need.
base_packages=ca-certificates,netbase,tzdata
declare -A python_libraries=(
  [bookworm]='libssl3 libffi8 libsqlite3-0 libreadline8 libbz2-1.0 liblzma5 libuuid1 libgdbm6 libncursesw6 libexpat1 libnsl2'
)
# The Debian release that ships this version.
declare -A debian_with=(
  [python:3.9]=bullseye [python:3.11]=bookworm [python:3.13]=trixie
  [postgres:15]=bookworm [postgres:17]=trixie [node:18]=bookworm [node:20]=trixie [ruby:3.1]=bookworm [ruby:3.3]=trixie
)

# Without this package bookworm would install perl to merge /usr.
declare -A merged_usr=([bookworm]=usr-is-merged)

# The Debian mirror that this machine's apt uses, if any. Otherwise mmdebstrap uses deb.debian.org with security updates.
debian_mirror() {
  # shellcheck disable=SC2016  # apt-get's own variable
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null |
    sed -n 1p | grep -v '//deb\.debian\.org/' || true
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# base_image RELEASE: creates rgrid-base:RELEASE if it does not exist.
base_image() {
  local release=$1 mirror work
  has_image "rgrid-base:$release" && return
  have mmdebstrap || apt_install "image tools" mmdebstrap debian-archive-keyring || return 1
  can_be_root || { hint "creating a base image needs root or sudo"; return 1; }
  mirror=$(debian_mirror)
  doing "rgrid-base:$release" "creating it with mmdebstrap from ${mirror:-deb.debian.org}"
  work=$(mktemp -d "${TMPDIR:-/tmp}/rgrid-base.XXXXXX")
  # shellcheck disable=SC2015  # show the log if either fails
  as_root mmdebstrap --mode=root --variant=minbase \
    --include="$base_packages${merged_usr[$release]:+,${merged_usr[$release]}}" \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$release" "$work/root.tar" ${mirror:+"$mirror"} >"$work/log" 2>&1 </dev/null &&
    docker import --change 'ENV LANG=C.UTF-8' --change 'CMD ["bash"]' --change 'LABEL rgrid.built=debian' \
      "$work/root.tar" "rgrid-base:$release" >/dev/null || tail -n 15 "$work/log" >&2
  rm -rf "$work"
  has_image "rgrid-base:$release"
}

# build_image NAME CONTEXT, with the Dockerfile on stdin. The old builder suffices, and buildx is often not installed.
# The host's network gives access to the package mirror.
build_image() {
  local log
  log=$(mktemp)
  cat >"$2/Dockerfile"
  DOCKER_BUILDKIT=0 docker build --quiet --force-rm --network host -t "$1" "$2" >"$log" 2>&1 ||
    { tail -n 15 "$log" >&2; rm -f "$log"; return 1; }
  rm -f "$log"
}

# apt_line PACKAGES: the line of a Dockerfile that installs PACKAGES and removes apt's files.
apt_line() {
  echo "RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $* \\"
  echo " && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /usr/share/doc /usr/share/man"
}

# from_debian IMAGE RELEASE PACKAGES [LINE...]: installs an interpreter from Debian; LINEs are added to the Dockerfile.
from_debian() {
  local image=$1 release=$2 packages=$3 context
  shift 3
  base_image "$release" || return 1
  doing "$image" "building it from Debian $release"
  context=$(mktemp -d)
  {
    echo "FROM rgrid-base:$release"
    apt_line "$packages"
    printf '%s\n' "$@"
  } | build_image "$image" "$context" || { rm -rf "$context"; return 1; }
  rm -rf "$context"
}

python_from_debian() {
  # Unlike the official image's pip, Debian's refuses to install outside a virtual environment. `python` needs only a
  # link, because CPython finds the modules anyway.
  from_debian "$1" "$2" "python3 python3-venv python3-pip" \
    'RUN ln -s python3 /usr/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED' \
    'CMD ["python3"]'
}

# The part of the official image that compose.yaml uses: the same variables, directory and permissions.
postgres_from_debian() {
  local image=$1 release=$2 version=${1#*:} context status=0
  base_image "$release" || return 1
  doing "$image" "building it from Debian $release"
  context=$(mktemp -d)
  cp scripts/lib/postgres-entry "$context/"
  {
    echo "FROM rgrid-base:$release"
    apt_line "postgresql-$version"
    echo "ENV PATH=/usr/lib/postgresql/$version/bin:/usr/local/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data"
    # shellcheck disable=SC2016  # the image's own variable
    echo 'RUN install -d -o postgres -g postgres -m 700 $PGDATA && install -d -o postgres -g postgres /run/postgresql'
    echo 'COPY postgres-entry /usr/local/bin/'
    printf '%s\n' 'USER postgres' 'VOLUME /var/lib/postgresql/data' 'EXPOSE 5432' 'STOPSIGNAL SIGINT' 'CMD ["postgres-entry"]'
  } | build_image "$image" "$context" || status=1
  rm -rf "$context"
  return $status
}

# The newest patch release of VERSION (3.12) that pyenv has on this machine.
pyenv_python() {
  compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1.*/bin/python$1" | sort -V | tail -n 1 | sed 's|/bin/python[^/]*$||'
}

# copy_python FROM VERSION TO: copies a pyenv version without tests, static libraries, caches and installed packages.
copy_python() {
  local from=$1 version=$2 to=$3
  mkdir -p "$to"
  tar -C "$from" -c --exclude='__pycache__' --exclude='*.a' --exclude="lib/python$version/test" \
    --exclude='lib/python*/*/test' --exclude='lib/python*/*/tests' --exclude='lib/python*/idlelib' \
    --exclude="lib/python$version/site-packages/*" --exclude="lib/python$version/config-*" \
    --exclude='bin/idle*' --exclude='bin/2to3*' lib include \
    "bin/python$version" "bin/python3" | tar -C "$to" -x
  (cd "$from/lib/python$version/site-packages" && tar -c --exclude='__pycache__' pip pip-*.dist-info) |
    tar -C "$to/lib/python$version/site-packages" -x
  ln -sf python3 "$to/bin/python"
  printf '#!/bin/sh\nexec /usr/local/bin/python3 -m pip "$@"\n' | tee "$to/bin/pip" >"$to/bin/pip3"
  chmod 755 "$to/bin/pip" "$to/bin/pip3"
  if have strip; then
    find "$to" -name '*.so*' -type f -exec strip --strip-unneeded {} + 2>/dev/null || true
  fi
}

python_from_pyenv() {
  local image=$1 version=$2 from context status=0
  from=$(pyenv_python "$version")
  base_image bookworm || return 1
  doing "$image" "building it from pyenv's ${from##*/} on Debian bookworm"
  context=$(mktemp -d)
  copy_python "$from" "$version" "$context/python"
  {
    echo "FROM rgrid-base:bookworm"
    apt_line "${python_libraries[bookworm]}"
    echo "COPY python/ /usr/local/"
    echo "RUN ldconfig"
    echo "LABEL rgrid.built=pyenv"
    echo 'CMD ["python3"]'
  } | build_image "$image" "$context" || status=1
  rm -rf "$context"
  return $status
}

# verified IMAGE: checks that a built image works, and removes it otherwise.
verified() {
  local image=$1 test
  case $image in
    python:*) test='python --version && python3 -c "import ssl, sqlite3, lzma, bz2, ctypes, readline, uuid, zoneinfo" &&
      python -m venv --without-pip /tmp/e && python -m pip --python /tmp/e/bin/python --version' ;;
    node:*) test='node --version' ;;
    ruby:*) test='ruby --version' ;;
    postgres:*) test='postgres --version && initdb --version' ;;
    *) test='bash --version' ;;
  esac
  docker run --rm --network none --user 1000:1000 --env HOME=/tmp "$image" sh -ec "$test" >/dev/null && return
  docker rmi "$image" >/dev/null
  hint "the image built for $image failed its test: $test"
  return 1
}

# build_locally IMAGE: builds the image in the first way that this machine supports; explains why if there is none.
build_locally() {
  local image=$1 name=${1%%:*} version=${1#*:}
  version=${version%-slim}
  local release=${debian_with[$name:$version]:-}
  case $name in
    debian) base_image "$version" && docker tag "rgrid-base:$version" "$image" ;;
    # Every image is based on bookworm, so its python is preferred; other releases need another base image.
    python)
      if [[ $release == bookworm ]]; then
        python_from_debian "$image" "$release"
      elif [[ -n $(pyenv_python "$version") ]]; then
        python_from_pyenv "$image" "$version"
      elif [[ -n $release ]]; then
        python_from_debian "$image" "$release"
      else
        hint "neither pyenv (${PYENV_ROOT:-$HOME/.pyenv}/versions) nor a Debian release provides $name $version"
        return 1
      fi
      ;;
    postgres)
      [[ -n $release ]] || { hint "no Debian release provides $name $version"; return 1; }
      postgres_from_debian "$image" "$release"
      ;;
    node | ruby)
      [[ -n $release ]] || { hint "no Debian release provides $name $version"; return 1; }
      local package=nodejs
      [[ $name == ruby ]] && package=ruby
      from_debian "$image" "$release" "$package" "CMD [\"${package/nodejs/node}\"]"
      ;;
    *)
      hint "there is no recipe for $image"
      return 1
      ;;
  esac
}
