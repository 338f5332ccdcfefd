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
    let files = ["peat/sidecar/v1/sidecar.proto", "peat/node/v1/node.proto"];
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_source_info(true).include_imports(true).open_files(files)?;
    let set = out.join("sidecar.bin");
    std::fs::write(&set, compiler.file_descriptor_set().encode_to_vec())?;
    // The generator names this file as one to watch. Written just now, it would be newer than this run, and everything
    // that depends on the protos would be compiled again each time; whoever changes a proto is seen by the folder.
    std::fs::File::options().write(true).open(&set)?.set_modified(std::time::UNIX_EPOCH)?;
    // The first era's JSON names of two fields; on the wire both eras are equal.
    let mut code = connectrpc_build::CodeGenConfig::default();
    code.generate_json = true;
    code.field_attributes = vec![
        (".peat.sidecar.v1.Cell.node_count".to_owned(), alias("platformCount", "platform_count")),
        (".peat.sidecar.v1.Track.source_node".to_owned(), alias("sourcePlatform", "source_platform")),
    ];
    connectrpc_build::Config::new()
        .buffa_config(code)
        .descriptor_set(&set)
        .files(&files)
        .include_file("_connectrpc.rs")
        .compile()?;
    Ok(())
}

#[cfg(feature = "sidecar")]
fn alias(camel: &str, snake: &str) -> String {
    format!("#[serde(alias = \"{camel}\", alias = \"{snake}\")]")
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
