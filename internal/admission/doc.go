// Package admission is the frame of every guard: it serves their webhooks and the conversion of versions over HTTPS, with a
// certificate that it makes, renews and hands to the API server itself, so that a guard only judges objects.
package admission
