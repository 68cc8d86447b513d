/*
 * What bindgen cannot reach by itself: DPDK's static inline functions, as ordinary functions, and
 * its macro constants, as enumerators and typed constants.
 *
 * Inline functions are called once per burst, never once per packet; mbuf fields are read from Rust
 * directly, at offsets that the constants below make the compiler check.
 *
 * Everything here must compile against DPDK 22.11, 23.11 and 24.11.
 */
#ifndef DPDK_SYS_SHIM_H
#define DPDK_SYS_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>
#include <rte_ring.h>
#include <rte_version.h>

/* Offsets of the mbuf fields that Rust reads, checked against its own definition at compile time. */
enum {
	SHIM_MBUF_SIZE = sizeof(struct rte_mbuf),
	SHIM_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	SHIM_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	SHIM_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt),
	SHIM_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	SHIM_MBUF_PORT = offsetof(struct rte_mbuf, port),
	SHIM_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	SHIM_MBUF_PACKET_TYPE = offsetof(struct rte_mbuf, packet_type),
	SHIM_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	SHIM_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	SHIM_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci),
	SHIM_MBUF_RSS_HASH = offsetof(struct rte_mbuf, hash.rss),
	SHIM_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	SHIM_MBUF_TX_OFFLOAD = offsetof(struct rte_mbuf, tx_offload),
};

enum {
	SHIM_MAX_ETHPORTS = RTE_MAX_ETHPORTS,
	SHIM_MAX_LCORE = RTE_MAX_LCORE,
	SHIM_ETH_NAME_MAX_LEN = RTE_ETH_NAME_MAX_LEN,
	SHIM_MEMPOOL_CACHE_MAX = RTE_MEMPOOL_CACHE_MAX_SIZE,
	SHIM_HEADROOM = RTE_PKTMBUF_HEADROOM,
	SHIM_DEFAULT_DATA_ROOM = RTE_MBUF_DEFAULT_BUF_SIZE,
	SHIM_RETA_GROUP = RTE_ETH_RETA_GROUP_SIZE,
	/* What a frame has beyond the MTU: its header, up to two VLAN tags, its checksum. */
	SHIM_ETHER_OVERHEAD = RTE_ETHER_HDR_LEN + 2 * RTE_VLAN_HLEN + RTE_ETHER_CRC_LEN,
	/* The unit of net_pcap's receive timestamps. */
#if RTE_VERSION >= RTE_VERSION_NUM(26, 7, 0, 0)
	SHIM_PCAP_NS_PER_TICK = 1,
#else
	SHIM_PCAP_NS_PER_TICK = 1000,
#endif
};

static const uint32_t SHIM_LCORE_ID_ANY = LCORE_ID_ANY;

static const uint64_t SHIM_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t SHIM_RX_RSS_HASH = RTE_MBUF_F_RX_RSS_HASH;
static const uint64_t SHIM_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t SHIM_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t SHIM_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t SHIM_RX_L4_CKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t SHIM_RX_L4_CKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t SHIM_RX_L4_CKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t SHIM_TX_MASK = RTE_MBUF_F_TX_OFFLOAD_MASK;
static const uint64_t SHIM_TX_VLAN = RTE_MBUF_F_TX_VLAN;
static const uint64_t SHIM_TX_IPV4 = RTE_MBUF_F_TX_IPV4;
static const uint64_t SHIM_TX_IPV6 = RTE_MBUF_F_TX_IPV6;
static const uint64_t SHIM_TX_IP_CKSUM = RTE_MBUF_F_TX_IP_CKSUM;
static const uint64_t SHIM_TX_TCP_CKSUM = RTE_MBUF_F_TX_TCP_CKSUM;
static const uint64_t SHIM_TX_UDP_CKSUM = RTE_MBUF_F_TX_UDP_CKSUM;

static const uint64_t SHIM_RX_OFFLOAD_VLAN_STRIP = RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
static const uint64_t SHIM_RX_OFFLOAD_IPV4_CKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SHIM_RX_OFFLOAD_UDP_CKSUM = RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
static const uint64_t SHIM_RX_OFFLOAD_TCP_CKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
static const uint64_t SHIM_RX_OFFLOAD_RSS_HASH = RTE_ETH_RX_OFFLOAD_RSS_HASH;
static const uint64_t SHIM_RX_OFFLOAD_TIMESTAMP = RTE_ETH_RX_OFFLOAD_TIMESTAMP;
static const uint64_t SHIM_TX_OFFLOAD_VLAN_INSERT = RTE_ETH_TX_OFFLOAD_VLAN_INSERT;
static const uint64_t SHIM_TX_OFFLOAD_IPV4_CKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SHIM_TX_OFFLOAD_UDP_CKSUM = RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
static const uint64_t SHIM_TX_OFFLOAD_TCP_CKSUM = RTE_ETH_TX_OFFLOAD_TCP_CKSUM;

static const uint64_t SHIM_RSS_IPV4 = RTE_ETH_RSS_IPV4;
static const uint64_t SHIM_RSS_FRAG_IPV4 = RTE_ETH_RSS_FRAG_IPV4;
static const uint64_t SHIM_RSS_IPV4_TCP = RTE_ETH_RSS_NONFRAG_IPV4_TCP;
static const uint64_t SHIM_RSS_IPV4_UDP = RTE_ETH_RSS_NONFRAG_IPV4_UDP;
static const uint64_t SHIM_RSS_IPV4_SCTP = RTE_ETH_RSS_NONFRAG_IPV4_SCTP;
static const uint64_t SHIM_RSS_IPV4_OTHER = RTE_ETH_RSS_NONFRAG_IPV4_OTHER;
static const uint64_t SHIM_RSS_IPV6 = RTE_ETH_RSS_IPV6;
static const uint64_t SHIM_RSS_FRAG_IPV6 = RTE_ETH_RSS_FRAG_IPV6;
static const uint64_t SHIM_RSS_IPV6_TCP = RTE_ETH_RSS_NONFRAG_IPV6_TCP;
static const uint64_t SHIM_RSS_IPV6_UDP = RTE_ETH_RSS_NONFRAG_IPV6_UDP;
static const uint64_t SHIM_RSS_IPV6_SCTP = RTE_ETH_RSS_NONFRAG_IPV6_SCTP;
static const uint64_t SHIM_RSS_IPV6_OTHER = RTE_ETH_RSS_NONFRAG_IPV6_OTHER;
static const uint64_t SHIM_RSS_LEVEL_INNERMOST = RTE_ETH_RSS_LEVEL_INNERMOST;
static const uint64_t SHIM_RSS_LEVEL_MASK = RTE_ETH_RSS_LEVEL_MASK;

/* CPUs as a bit map, bit n of word n / 64 being CPU n; the size of glibc's cpu_set_t. */
#define SHIM_CPU_WORDS 16
struct shim_cpus {
	uint64_t bits[SHIM_CPU_WORDS];
};

/* The fields of struct rte_eth_link, whose layout differs between versions. */
struct shim_link {
	uint32_t speed_mbps;
	uint8_t full_duplex;
	uint8_t up;
};

int shim_errno(void);
unsigned int shim_lcore_id(void);
uint64_t shim_rdtsc(void);
uint64_t shim_tsc_hz(void);

/* Affinity of the calling thread; 0 or a positive errno. */
int shim_affinity_get(struct shim_cpus *cpus);
int shim_affinity_set(const struct shim_cpus *cpus);

/* Whether the address space has room for what EAL reserves for one size of huge pages. */
int shim_huge_pages_fit(void);

/* Whether a huge page of this size, a power of two in bytes, can be mapped and written to. */
int shim_huge_page_usable(uint64_t bytes);

unsigned int shim_pool_size(const struct rte_mempool *pool);
unsigned int shim_pool_data_room(struct rte_mempool *pool);
struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool);
int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n);
void shim_mbuf_free(struct rte_mbuf *mbuf);

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
int shim_link_get(uint16_t port, struct shim_link *link);

unsigned int shim_ring_enqueue_burst(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int n);
unsigned int shim_ring_dequeue_burst(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int n);
unsigned int shim_ring_count(const struct rte_ring *ring);
unsigned int shim_ring_capacity(const struct rte_ring *ring);

#endif
