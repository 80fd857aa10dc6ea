// Opens the payment provider's checkout for one top-up, and brings its word to the server. Where it is not brought (a tab
// that was closed) the server hears of the payment by itself.
"use strict";
const pay = document.getElementById("pay");
const say = (text) => { document.getElementById("pay-status").textContent = text; };

async function bring(word) {
  pay.disabled = true;
  say("Your payment is being confirmed.");
  const body = JSON.stringify({ payment_id: word.razorpay_payment_id, signature: word.razorpay_signature });
  const headers = { "Content-Type": "application/json", "X-CSRF-Token": pay.dataset.csrf };
  try {
    await fetch(pay.dataset.confirm, { method: "POST", headers, body });
  } catch { /* the page shows how far it is, whichever way the server hears of it */ }
  location.assign(pay.dataset.page);
}

// Not called `open`: that would take the place of window.open, by which the checkout opens a bank's window.
function showCheckout() {
  const { key, order, amount, currency, name } = pay.dataset;
  const ondismiss = () => say("The payment was not finished. If money was taken all the same, it is credited by itself.");
  new Razorpay({ key, order_id: order, amount: Number(amount), currency, name, handler: bring, modal: { ondismiss } }).open();
}

if (typeof Razorpay === "undefined") {
  say("The payment provider's checkout could not be loaded. Allow checkout.razorpay.com, then load this page again.");
} else {
  pay.hidden = false;
  pay.addEventListener("click", showCheckout);
}
