//! Files of executions. Scripts, inputs and outputs share the table of blobs, by hash.

use diesel::prelude::*;
use rgrid_api::OutputFile;
use sha2::{Digest, Sha256};

use crate::execution::{ExecutionId, FileContent};
use crate::store::schema::{blobs, execution_files};
use crate::store::{Result, Store};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Script,
    Input,
    Output,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Script => "script",
            Role::Input => "input",
            Role::Output => "output",
        }
    }
}

/// Files as arrays, so that one statement inserts all of them.
#[derive(Default)]
pub(crate) struct FileColumns {
    pub roles: Vec<&'static str>,
    pub names: Vec<String>,
    pub sizes: Vec<i64>,
    pub hashes: Vec<Vec<u8>>,
    pub contents: Vec<Vec<u8>>,
}

impl FileColumns {
    pub fn new<'a>(files: impl Iterator<Item = (Role, &'a str, &'a [u8])>) -> Self {
        let mut columns = Self::default();
        for (role, name, content) in files {
            columns.roles.push(role.as_str());
            columns.names.push(name.to_owned());
            columns.sizes.push(content.len() as i64);
            columns.hashes.push(Sha256::digest(content).to_vec());
            columns.contents.push(content.to_vec());
        }
        columns
    }
}

/// Adds output files to an execution, in the caller's transaction.
pub(crate) fn insert_outputs<'a>(
    conn: &mut PgConnection,
    execution: &ExecutionId,
    files: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> QueryResult<()> {
    let files: Vec<_> =
        files.map(|(name, content)| (name, content, Sha256::digest(content).to_vec())).collect();
    let contents =
        files.iter().map(|(_, content, sha256)| (blobs::sha256.eq(sha256), blobs::content.eq(*content)));
    diesel::insert_into(blobs::table)
        .values(contents.collect::<Vec<_>>())
        .on_conflict_do_nothing()
        .execute(conn)?;
    let rows = files.iter().map(|(name, content, sha256)| {
        (
            execution_files::execution_id.eq(execution.as_str()),
            execution_files::role.eq(Role::Output.as_str()),
            execution_files::name.eq(*name),
            execution_files::size.eq(content.len() as i64),
            execution_files::sha256.eq(sha256),
        )
    });
    diesel::insert_into(execution_files::table).values(rows.collect::<Vec<_>>()).execute(conn).map(drop)
}

pub(crate) fn outputs(conn: &mut PgConnection, execution: &ExecutionId) -> QueryResult<Vec<OutputFile>> {
    let files = execution_files::table
        .filter(execution_files::execution_id.eq(execution.as_str()))
        .filter(execution_files::role.eq(Role::Output.as_str()))
        .order(execution_files::name)
        .select((execution_files::name, execution_files::size, execution_files::sha256));
    Ok(files.load(conn)?.into_iter().map(output_file).collect())
}

fn output_file((name, size, sha256): (String, i64, Vec<u8>)) -> OutputFile {
    OutputFile { name, size: size.unsigned_abs(), sha256: base16ct::lower::encode_string(&sha256) }
}

impl Store {
    pub async fn outputs(&self, execution: &ExecutionId) -> Result<Vec<OutputFile>> {
        let id = execution.clone();
        self.query(move |conn| outputs(conn, &id)).await
    }

    /// The script, then the inputs by name.
    pub async fn submitted_files(&self, execution: &ExecutionId) -> Result<Vec<OutputFile>> {
        let id = execution.clone();
        self.query(move |conn| {
            let files = execution_files::table
                .filter(execution_files::execution_id.eq(id.as_str()))
                .filter(execution_files::role.ne(Role::Output.as_str()))
                .order((execution_files::role.desc(), execution_files::name))
                .select((execution_files::name, execution_files::size, execution_files::sha256));
            Ok(files.load(conn)?.into_iter().map(output_file).collect())
        })
        .await
    }

    /// In order.
    pub async fn input_names(&self, execution: &ExecutionId) -> Result<Vec<String>> {
        let id = execution.clone();
        self.query(move |conn| {
            execution_files::table
                .filter(execution_files::execution_id.eq(id.as_str()))
                .filter(execution_files::role.eq(Role::Input.as_str()))
                .order(execution_files::name)
                .select(execution_files::name)
                .load(conn)
        })
        .await
    }

    /// One input file, so that only one is in memory at a time.
    pub async fn input(&self, execution: &ExecutionId, name: &str) -> Result<FileContent> {
        self.file(execution, Role::Input, name).await
    }

    pub async fn output(&self, execution: &ExecutionId, name: &str) -> Result<FileContent> {
        self.file(execution, Role::Output, name).await
    }

    async fn file(&self, execution: &ExecutionId, role: Role, name: &str) -> Result<FileContent> {
        let (id, name) = (execution.clone(), name.to_owned());
        self.query(move |conn| {
            let content = execution_files::table
                .find((id.as_str(), role.as_str(), &name))
                .inner_join(blobs::table)
                .select(blobs::content)
                .first(conn)?;
            Ok(FileContent { name, content })
        })
        .await
    }
}
