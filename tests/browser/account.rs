//! What a buyer does with the account itself: signs out, forgets the password, joins a vendor.

use anyhow::{Context as _, Result};
use apiclay_tests::api::PASSWORD;
use serde_json::json;

use crate::{Buyer, EMAIL, USERNAME};

const NEW_PASSWORD: &str = "quite another long password";

impl Buyer<'_> {
    pub async fn signs_out(&mut self) -> Result<()> {
        self.presses(".who button").await?;
        self.sees("[role=status]", "You are signed out").await?;
        self.goes_to("/account").await?;
        self.sees("h1", "Sign in").await?;
        self.fills("#login", USERNAME).await?;
        self.fills("#password", PASSWORD).await?;
        self.presses("main .panel button").await?;
        self.sees("h1", "Account").await?;
        // The session is gone while a form of its is open.
        self.browser.delete_all_cookies().await?;
        self.presses(".rows button").await?;
        self.sees("[role=status]", "Sign in to go on").await?;
        self.picture("session-expired").await
    }

    /// With a code from the mailbox; the old password opens nothing from then on.
    pub async fn resets_the_password(&mut self) -> Result<()> {
        self.presses("a[href^='/password/forgot']").await?;
        self.sees("h1", "Forgotten password").await?;
        self.picture("password-forgot").await?;
        self.fills("#email", EMAIL).await?;
        self.presses("main .panel button").await?;
        self.sees("h1", "Choose a new password").await?;
        self.picture("password-reset").await?;
        let code = self.code("choose a new password").await?;
        self.fills("#code", &code).await?;
        self.fills("#password", "short").await?;
        self.presses("main .panel button").await?;
        self.sees("#password-fault", "at least 10 characters").await?;
        self.picture("password-reset-wrong").await?;
        self.fills("#code", &code).await?;
        self.fills("#password", NEW_PASSWORD).await?;
        self.presses("main .panel button").await?;
        self.sees("[role=status]", "password").await?;
        self.fills("#login", USERNAME).await?;
        self.fills("#password", PASSWORD).await?;
        self.presses("main .panel button").await?;
        self.sees("[role=alert]", "login or the password is wrong").await
    }

    /// The link in the mail leads through the sign-in to the invitation, by the keyboard alone.
    pub async fn joins_a_vendor(&mut self) -> Result<()> {
        let owner = self.market.api()?.sign_up("owner").await?;
        owner.create("/vendors", &json!({ "slug": "skycast", "name": "Skycast" })).await?;
        let invited = json!({ "email": EMAIL, "role": "developer" });
        owner.post("/vendors/skycast/invitations", &invited, 201).await?;
        let letter = self.letter("/invitations/").await?;
        let link = letter.split_whitespace().find_map(|word| word.split_once("/invitations/"));
        let (_, rest) = link.context("no link in the mail")?;
        self.goes_to(&format!("/invitations/{rest}")).await?;
        self.sees("h1", "Sign in").await?;
        self.types("#login", USERNAME).await?;
        self.picture("focus").await?;
        self.types("#password", &format!("{NEW_PASSWORD}\u{e007}")).await?;
        self.sees("h1", "Join Skycast").await?;
        self.picture("invitation").await?;
        self.presses("main .panel button").await?;
        self.sees("main", "Skycast").await?;
        self.picture("invitation-accepted").await?;
        self.goes_to("/invitations/accept?code=apiclay_none").await?;
        self.sees("h1", "opens nothing").await?;
        self.picture("invitation-none").await
    }
}
