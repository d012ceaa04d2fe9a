# Images made on this machine, for when no registry can be reached: a minimal Debian, and an
# interpreter on top, either Debian's own or one that pyenv has built here.
# They carry the official images' names, so the runtime table need not know; the label rgrid.built tells.
# Sourced, not run; needs say.sh, root.sh and apt.sh.
# shellcheck shell=bash

# What the official slim images hold beside Debian's core, and what CPython's own modules link to.
base_packages=ca-certificates,netbase,tzdata
declare -A python_libraries=(
  [bookworm]='libssl3 libffi8 libsqlite3-0 libreadline8 libbz2-1.0 liblzma5 libuuid1 libgdbm6 libncursesw6 libexpat1 libnsl2'
)
# The release whose python, node or ruby has the wanted version.
declare -A debian_with=(
  [python:3.9]=bullseye [python:3.11]=bookworm [python:3.13]=trixie
  [postgres:15]=bookworm [postgres:17]=trixie [node:18]=bookworm [node:20]=trixie [ruby:3.1]=bookworm [ruby:3.3]=trixie
)

# Bookworm would bring all of perl along to merge /usr; made merged, it needs none.
declare -A merged_usr=([bookworm]=usr-is-merged)

# The mirror that this machine's apt uses for Debian, if it is a Debian with one of its own. Without it
# mmdebstrap takes deb.debian.org, and its security updates too.
debian_mirror() {
  # shellcheck disable=SC2016  # apt-get's own variable
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null |
    sed -n 1p | grep -v '//deb\.debian\.org/' || true
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

# base_image RELEASE: rgrid-base:RELEASE, made once.
base_image() {
  local release=$1 mirror work
  has_image "rgrid-base:$release" && return
  have mmdebstrap || apt_install "image tools" mmdebstrap debian-archive-keyring || return 1
  can_be_root || { hint "making a base image needs root or sudo"; return 1; }
  mirror=$(debian_mirror)
  doing "rgrid-base:$release" "making it with mmdebstrap from ${mirror:-deb.debian.org}"
  work=$(mktemp -d "${TMPDIR:-/tmp}/rgrid-base.XXXXXX")
  # shellcheck disable=SC2015  # the log is wanted when either fails
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

# build_image NAME CONTEXT, with the Dockerfile on stdin. The old builder does: buildx is often not there.
# The host's network, because a build needs the package mirror the way the host reaches it.
build_image() {
  local log
  log=$(mktemp)
  cat >"$2/Dockerfile"
  DOCKER_BUILDKIT=0 docker build --quiet --force-rm --network host -t "$1" "$2" >"$log" 2>&1 ||
    { tail -n 15 "$log" >&2; rm -f "$log"; return 1; }
  rm -f "$log"
}

# In a Dockerfile: install PACKAGES and leave nothing of apt behind.
apt_line() {
  echo "RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $* \\"
  echo " && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /usr/share/doc /usr/share/man"
}

# from_debian IMAGE RELEASE PACKAGES [LINE...]: an interpreter of Debian's; LINEs go into the Dockerfile.
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
  # Debian's pip refuses to install outside a virtual environment, which the official image's does not.
  # Its modules lie where CPython looks anyway, so `python` needs no more than a name.
  from_debian "$1" "$2" "python3 python3-venv python3-pip" \
    'RUN ln -s python3 /usr/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED' \
    'CMD ["python3"]'
}

# As much of the official image as compose.yaml asks for: the same variables, folder and rights.
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

# Copies a pyenv version without tests, static libraries, caches, and what its owner installed into it.
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

# proven IMAGE: a built image does what RGrid asks of its kind. One that does not is removed.
proven() {
  local image=$1 proof
  case $image in
    python:*) proof='python --version && python3 -c "import ssl, sqlite3, lzma, bz2, ctypes, readline, uuid, zoneinfo" &&
      python -m venv --without-pip /tmp/e && python -m pip --python /tmp/e/bin/python --version' ;;
    node:*) proof='node --version' ;;
    ruby:*) proof='ruby --version' ;;
    postgres:*) proof='postgres --version && initdb --version' ;;
    *) proof='bash --version' ;;
  esac
  docker run --rm --network none --user 1000:1000 --env HOME=/tmp "$image" sh -ec "$proof" >/dev/null && return
  docker rmi "$image" >/dev/null
  hint "the image built for $image did not pass its check: $proof"
  return 1
}

# build_locally IMAGE: by the first way that this machine has. Says what was tried when there is none.
build_locally() {
  local image=$1 name=${1%%:*} version=${1#*:}
  version=${version%-slim}
  local release=${debian_with[$name:$version]:-}
  case $name in
    debian) base_image "$version" && docker tag "rgrid-base:$version" "$image" ;;
    # Bookworm is under every image here, so its own python comes first; other releases cost a base more.
    python)
      if [[ $release == bookworm ]]; then
        python_from_debian "$image" "$release"
      elif [[ -n $(pyenv_python "$version") ]]; then
        python_from_pyenv "$image" "$version"
      elif [[ -n $release ]]; then
        python_from_debian "$image" "$release"
      else
        hint "pyenv has no $version here (looked in ${PYENV_ROOT:-$HOME/.pyenv}/versions), and no Debian release has it"
        return 1
      fi
      ;;
    postgres)
      [[ -n $release ]] || { hint "no Debian release has $name $version"; return 1; }
      postgres_from_debian "$image" "$release"
      ;;
    node | ruby)
      [[ -n $release ]] || { hint "no Debian release has $name $version"; return 1; }
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
