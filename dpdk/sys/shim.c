/* CPU affinity (sched_getaffinity) and huge pages (MAP_HUGETLB) are GNU extensions. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "shim.h"

/* Linux 5.14; older C libraries do not name it. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

_Static_assert(sizeof(struct shim_cpus) == sizeof(cpu_set_t), "shim_cpus stands for cpu_set_t");

int shim_errno(void)
{
	return rte_errno;
}

unsigned int shim_lcore_id(void)
{
	return rte_lcore_id();
}

uint64_t shim_rdtsc(void)
{
	return rte_rdtsc();
}

uint64_t shim_tsc_hz(void)
{
	return rte_get_tsc_hz();
}

int shim_affinity_get(struct shim_cpus *cpus)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return errno;
	memset(cpus, 0, sizeof(*cpus));
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus->bits[cpu / 64] |= UINT64_C(1) << (cpu % 64);
	return 0;
}

int shim_affinity_set(const struct shim_cpus *cpus)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (cpus->bits[cpu / 64] >> (cpu % 64) & 1)
			CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) == 0 ? 0 : errno;
}

int shim_huge_pages_fit(void)
{
	size_t bytes = (size_t)RTE_MAX_MEM_MB_PER_TYPE << 20;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *area = mmap(NULL, bytes, PROT_NONE, flags, -1, 0);

	if (area == MAP_FAILED)
		return 0;
	munmap(area, bytes);
	return 1;
}

int shim_huge_page_usable(uint64_t bytes)
{
	int size = __builtin_ctzll(bytes) << MAP_HUGE_SHIFT;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | size;
	void *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	int usable;

	if (page == MAP_FAILED)
		return 0;
	/*
	 * A control group may forbid the page although the pool has it, which a plain write would find out
	 * by SIGBUS. Kernels that do not know the advice answer EINVAL.
	 */
	usable = madvise(page, bytes, MADV_POPULATE_WRITE) == 0 || errno == EINVAL;
	munmap(page, bytes);
	return usable;
}

unsigned int shim_pool_size(const struct rte_mempool *pool)
{
	return pool->size;
}

unsigned int shim_pool_data_room(struct rte_mempool *pool)
{
	return rte_pktmbuf_data_room_size(pool);
}

struct rte_mbuf *shim_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

int shim_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int n)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, n);
}

void shim_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_rx_burst(port, queue, mbufs, n);
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n)
{
	return rte_eth_tx_burst(port, queue, mbufs, n);
}

int shim_link_get(uint16_t port, struct shim_link *link)
{
	struct rte_eth_link now;
	int ret;

	memset(&now, 0, sizeof(now));
	ret = rte_eth_link_get_nowait(port, &now);
	if (ret != 0)
		return ret;
	link->speed_mbps = now.link_speed;
	link->full_duplex = now.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	link->up = now.link_status == RTE_ETH_LINK_UP;
	return 0;
}

unsigned int shim_ring_enqueue_burst(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int n)
{
	return rte_ring_enqueue_burst(ring, (void *const *)mbufs, n, NULL);
}

unsigned int shim_ring_dequeue_burst(struct rte_ring *ring, struct rte_mbuf **mbufs, unsigned int n)
{
	return rte_ring_dequeue_burst(ring, (void **)mbufs, n, NULL);
}

unsigned int shim_ring_count(const struct rte_ring *ring)
{
	return rte_ring_count(ring);
}

unsigned int shim_ring_capacity(const struct rte_ring *ring)
{
	return rte_ring_get_capacity(ring);
}
