//! What an execution was made of: for a receipt.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, Text};
use rgrid_api::OutputFile;

use crate::execution::ExecutionId;
use crate::store::executions::files::Role;
use crate::store::executions::query::output_file;
use crate::store::schema::execution_files;
use crate::store::statement::statement;
use crate::store::{Store, StoreError};

/// Names of variables only: values never come out.
const MADE_OF: &str = "
    SELECT runtime, args, array(SELECT jsonb_object_keys(env) ORDER BY 1) AS env_keys, requirements, timeout_ms,
        memory_bytes, cpus_milli, network, max_attempts, image
    FROM executions WHERE id = $1";

#[derive(Debug, Clone, QueryableByName)]
pub struct JobDefinition {
    #[diesel(sql_type = Text)]
    pub runtime: String,
    #[diesel(sql_type = Jsonb)]
    args: serde_json::Value,
    #[diesel(sql_type = Array<Text>)]
    pub env_keys: Vec<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub requirements: Option<String>,
    #[diesel(sql_type = BigInt)]
    pub timeout_ms: i64,
    #[diesel(sql_type = BigInt)]
    pub memory_bytes: i64,
    #[diesel(sql_type = Integer)]
    pub cpus_milli: i32,
    #[diesel(sql_type = Bool)]
    pub network: bool,
    #[diesel(sql_type = Integer)]
    pub max_attempts: i32,
    /// Content id.
    #[diesel(sql_type = Nullable<Text>)]
    pub image: Option<String>,
}

impl JobDefinition {
    pub fn args(&self) -> Vec<String> {
        serde_json::from_value(self.args.clone()).unwrap_or_default()
    }
}

impl Store {
    pub async fn job_definition(&self, id: &ExecutionId) -> Result<JobDefinition, StoreError> {
        let id = id.clone();
        self.run(move |conn| Ok(statement(MADE_OF).bind::<Text, _>(id.as_str()).get_result(conn)?)).await
    }

    /// The script first, then what was handed over with it.
    pub async fn submitted_files(&self, id: &ExecutionId) -> Result<Vec<OutputFile>, StoreError> {
        let id = id.clone();
        self.run(move |conn| {
            let rows: Vec<(String, i64, Vec<u8>)> = execution_files::table
                .filter(execution_files::execution_id.eq(id.as_str()))
                .filter(execution_files::role.ne(Role::Output.as_str()))
                .order((execution_files::role.desc(), execution_files::name))
                .select((execution_files::name, execution_files::size, execution_files::sha256))
                .load(conn)?;
            Ok(rows.into_iter().map(output_file).collect())
        })
        .await
    }
}
