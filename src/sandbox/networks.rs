//! The network of sandboxes that may reach the internet: a bridge of its own, on which they cannot talk to each
//! other.

use std::collections::HashMap;

use bollard::models::{Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use slog::{info, warn};

use super::error::answered;
use super::{Docker, DockerError};

impl Docker {
    /// Id of the network; makes it unless it is there.
    ///
    /// Docker lets two daemons that start at once make two networks of one name. So it is known by its id:
    /// everybody takes the oldest, and whoever made a younger one removes it again.
    pub(super) async fn internet(&self) -> Result<String, DockerError> {
        if let Some(id) = self.find_internet().await? {
            return Ok(id);
        }
        let made = self.make_internet().await?;
        let oldest = self.find_internet().await?.unwrap_or_else(|| made.clone());
        if oldest != made
            && let Err(error) = answered(self.api.remove_network(&made)).await
        {
            warn!(self.log, "a second network is left over"; "network" => made, "error" => %error);
        }
        Ok(oldest)
    }

    async fn find_internet(&self) -> Result<Option<String>, DockerError> {
        let filters = HashMap::from([("name".to_owned(), vec![self.settings.network.clone()])]);
        let listed = self.api.list_networks(Some(ListNetworksOptions { filters: Some(filters) }));
        let listed = answered(listed).await;
        let listed = listed.map_err(|error| self.failed("list networks", error))?;
        // The filter takes parts of names too.
        let ours = listed
            .into_iter()
            .filter(|network| network.name.as_deref() == Some(self.settings.network.as_str()));
        Ok(ours
            .min_by_key(|network: &Network| (network.created.clone(), network.id.clone()))
            .and_then(|n| n.id))
    }

    async fn make_internet(&self) -> Result<String, DockerError> {
        info!(self.log, "making the sandboxes' network"; "network" => &self.settings.network);
        let no_traffic_between = ("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned());
        let request = NetworkCreateRequest {
            name: self.settings.network.clone(),
            driver: Some("bridge".to_owned()),
            // The fence (fence.rs) is of IPv4.
            enable_ipv6: Some(false),
            options: Some(HashMap::from([no_traffic_between])),
            labels: Some(HashMap::from([("rgrid.network".to_owned(), "internet".to_owned())])),
            ..Default::default()
        };
        let made = answered(self.api.create_network(request)).await;
        Ok(made.map_err(|error| self.failed("make a network", error))?.id)
    }
}
