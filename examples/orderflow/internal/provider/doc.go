// Package provider is a payment provider, as one meets them: it works, and its answers are
// late, wrong or lost. It keeps a ledger of what it has really done, with which the demo
// compares the orders.
//
// Its API:
//
//	POST /charges                {"order", "amount", "card"}, and an Idempotency-Key
//	     201 {"id"}              the money was taken
//	     402                     the card was declined
//	POST /refunds                {"charge", "amount"}; without keys: twice is twice
//	     201
//	GET  /refunds?charge=ID      200, or 404 if there is no refund of the charge
//	GET  /ledger                 everything it has done
//
// All others are errors, and do not say what was done: see [Faults].
package provider
