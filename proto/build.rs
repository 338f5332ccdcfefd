//! Compiles the protos without protoc: protox writes a descriptor set, the generators read it.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=peat");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    sidecar(&out)?;
    membership()?;
    Ok(())
}

#[cfg(feature = "sidecar")]
fn sidecar(out: &std::path::Path) -> Result<(), Box<dyn Error>> {
    use prost::Message;
    let file = "peat/sidecar/v1/sidecar.proto";
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_source_info(true).include_imports(true).open_file(file)?;
    let set = out.join("sidecar.bin");
    std::fs::write(&set, compiler.file_descriptor_set().encode_to_vec())?;
    connectrpc_build::Config::new()
        .descriptor_set(&set)
        .files(&[file])
        .include_file("_connectrpc.rs")
        .compile()?;
    Ok(())
}

#[cfg(not(feature = "sidecar"))]
fn sidecar(_out: &std::path::Path) -> Result<(), Box<dyn Error>> {
    Ok(())
}

#[cfg(feature = "membership")]
fn membership() -> Result<(), Box<dyn Error>> {
    let set = protox::compile(["peat/membership/v1/membership.proto"], ["."])?;
    tonic_prost_build::configure().build_transport(false).compile_fds(set)?;
    Ok(())
}

#[cfg(not(feature = "membership"))]
fn membership() -> Result<(), Box<dyn Error>> {
    Ok(())
}
