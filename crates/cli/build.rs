//! Embeds the commit that `rgrid --version` prints.

#[path = "../commit.rs"]
mod commit;

fn main() {
    println!("cargo:rustc-env=RGRID_COMMIT={}", commit::commit());
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../commit.rs");
}
