//! The network of sandboxes that may reach the internet: a bridge of its own, on which they cannot talk to each
//! other.

use std::collections::HashMap;

use bollard::models::{Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use slog::{info, warn};

use crate::sandbox::error::{answered, is_missing};
use crate::sandbox::{Docker, DockerError};

/// Of the network that RGrid made.
const NETWORK_LABEL: &str = "rgrid.network";

impl Docker {
    /// Id of the network; makes it unless it is there.
    ///
    /// Docker lets two daemons that start at once make two networks of one name, and then starts no container in
    /// either of them. So whoever finds two removes one, also later: its maker may have died over that.
    pub(crate) async fn internet(&self) -> Result<String, DockerError> {
        let mut found = self.find_internet().await?;
        if found.is_empty() {
            self.make_internet().await?;
            found = self.find_internet().await?;
        }
        let mut found = found.into_iter();
        let mut kept = found.next().ok_or_else(|| self.no_network())?;
        for other in found {
            warn!(self.log, "there are two networks of one name"; "older" => &kept.id, "younger" => &other.id);
            // The older one, which everybody prefers, unless the other one is in use.
            if !self.removes(&other).await && self.removes(&kept).await {
                kept = other;
            }
        }
        Ok(kept.id.unwrap_or_default())
    }

    /// Only one that RGrid made goes; Docker refuses it for one in use.
    async fn removes(&self, network: &Network) -> bool {
        let ours = network.labels.as_ref().is_some_and(|labels| labels.contains_key(NETWORK_LABEL));
        if !ours {
            warn!(self.log, "a network stays: it is not RGrid's"; "network" => &network.id);
            return false;
        }
        match answered(self.api.remove_network(network.id.as_deref().unwrap_or_default())).await {
            Err(error) if !is_missing(&error) => {
                warn!(self.log, "a network stays"; "network" => &network.id, "error" => %error);
                false
            }
            _ => true,
        }
    }

    fn no_network(&self) -> DockerError {
        let reason = format!("the network {} was removed again", self.settings.network);
        DockerError::Refused { what: "make a network", reason }
    }

    /// The oldest first.
    async fn find_internet(&self) -> Result<Vec<Network>, DockerError> {
        let filters = HashMap::from([("name".to_owned(), vec![self.settings.network.clone()])]);
        let listed = self.api.list_networks(Some(ListNetworksOptions { filters: Some(filters) }));
        let listed = answered(listed).await;
        let mut listed = listed.map_err(|error| self.failed("list networks", error))?;
        // The filter takes parts of names too.
        listed.retain(|network| network.name.as_deref() == Some(self.settings.network.as_str()));
        listed.sort_by_key(|network| (network.created.clone(), network.id.clone()));
        Ok(listed)
    }

    async fn make_internet(&self) -> Result<(), DockerError> {
        info!(self.log, "making the sandboxes' network"; "network" => &self.settings.network);
        let no_traffic_between = ("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned());
        let request = NetworkCreateRequest {
            name: self.settings.network.clone(),
            driver: Some("bridge".to_owned()),
            // The fence (fence.rs) is of IPv4.
            enable_ipv6: Some(false),
            options: Some(HashMap::from([no_traffic_between])),
            labels: Some(HashMap::from([(NETWORK_LABEL.to_owned(), "internet".to_owned())])),
            ..Default::default()
        };
        let made = answered(self.api.create_network(request)).await;
        made.map(drop).map_err(|error| self.failed("make a network", error))
    }
}
